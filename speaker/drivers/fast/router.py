"""Tell a link that the node is a router there, by one ICMPv6 message.

It goes through an ordinary raw socket, not through the link's packet sockets, so that the kernel
chooses the source: the link-local address from which it also calls the router, and none that is
still being probed. The kernel makes header and checksum, too. Called by
`speaker.drivers.fast.port`.
"""

from __future__ import annotations

import socket
from ipaddress import IPv6Address

from speaker.drivers.fast.error import DriverError
from speaker.wire.ethernet import Mac
from speaker.wire.ndp import ALL_NODES, HOP_LIMIT, router_advertisement
from speaker.wire.rtnetlink import Link


def advertise_router(link: Link, mac: Mac) -> None:
    """Send one router advertisement on `link`.

    Raises:
        DriverError: the node has no usable link-local address there, or the kernel cannot send.

    """
    try:
        with socket.socket(
            socket.AF_INET6, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_ICMPV6
        ) as opened:
            opened.setblocking(False)
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, HOP_LIMIT)
            # Our own kernel would take us for one of the link's routers.
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
            opened.connect((str(ALL_NODES), 0, 0, link.index))
            source = IPv6Address(opened.getsockname()[0])
            if not source.is_link_local:
                # RFC 4861 6.1.2: nobody would believe it.
                raise DriverError(f"link {link.name} has no link-local address to send from")
            opened.send(router_advertisement(mac))
    except OSError as error:
        raise DriverError(
            f"link {link.name}: no router advertisement can be sent: {error.strerror} (it takes "
            "IPv6 and a link-local address that is not being probed any more)"
        ) from error
