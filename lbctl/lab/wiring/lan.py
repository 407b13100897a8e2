"""The lab's network: a bridge in a namespace of its own, and a cable to every machine.

The gateway's namespace (`lan`) holds the bridge, which is the switch and, with an address of its
own, the router of the LAN: it knows the way to every node's pods, so the client and pods can
talk without any address translation, as behind a top-of-rack router. The far end of each cable
lies in `lan`; taking it down is pulling the plug: the machine loses carrier.

A lab with routers has a second bridge, which is a switch and nothing else: `remote` hangs on it
alone, routers with a second port. `remote` has an address for each router: its packets from there
go through that router, and every other machine answers to that address by the same one. So who
asks chooses the router by the address that he asks from.

Everything is made with `ip -batch`, one process per namespace, so what is done is what a person
would type. Names of namespaces follow from the lab's name (`lbctl.lab.spec.scoped`), and links
vanish with their namespaces, so there is nothing to record here.

IPv6 has no duplicate address detection here: an address would be unusable for its first second.
"""

import contextlib
import subprocess
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path

from lbctl.lab import spec as at
from lbctl.lab.machines import kernel
from lbctl.lab.records import NETWORKS, network
from lbctl.lab.spec import LabSpec, Router, scoped

BRIDGE, FAR_BRIDGE = "br0", "br1"
PORT, FAR_PORT = "eth0", "eth1"

_ALL = ("net/ipv6/conf/all/accept_dad=0", "net/ipv6/conf/default/accept_dad=0")
_ROUTER = (
    "net/ipv4/ip_forward=1",
    "net/ipv6/conf/all/forwarding=1",
    "net/ipv6/conf/default/forwarding=1",
    # In and out on the same port is what this router is for; nobody needs to be told.
    "net/ipv4/conf/all/send_redirects=0",
    "net/ipv4/conf/default/send_redirects=0",
)
# Which of several next hops a packet takes is chosen by addresses and ports, as switches do: every
# packet of a connection takes the same.
_MULTIPATH = ("net/ipv4/fib_multipath_hash_policy=1", "net/ipv6/fib_multipath_hash_policy=1")
# The bridge is a switch: frames between other machines are none of the gateway's business.
_SWITCH = (
    "net/bridge/bridge-nf-call-iptables=0",
    "net/bridge/bridge-nf-call-ip6tables=0",
    "net/bridge/bridge-nf-call-arptables=0",
)


class WiringError(RuntimeError):
    """The kernel refused a part of the network."""


def lay(spec: LabSpec, machines: Iterable[str], *, lock: int) -> None:
    """Make the namespaces of the machines and cable them to the bridge.

    With `lan` among the machines the bridge itself is made. Children inherit the lock.
    Raises WiringError with `ip`'s own words.
    """
    machines = tuple(machines)
    NETWORKS.mkdir(exist_ok=True)
    _batches(spec, dict.fromkeys(machines, ("link set lo up",)), lock=lock, make=True)
    cabled = [m for m in machines if m != at.LAN]
    switch = list(_bridges(spec)) if at.LAN in machines else []
    for machine in cabled:
        switch += _cables(spec, machine)
    _batches(spec, {at.LAN: switch}, lock=lock)
    _batches(spec, {m: _ports(m) + _routes(spec, m) for m in machines}, lock=lock)
    if at.REMOTE in machines:
        _batches(spec, {at.REMOTE: _choices_v6(spec)}, lock=lock, options=("-6",))


def remove(spec_name: str, machines: Iterable[str]) -> None:
    """Take away the machines' namespaces; what does not exist is fine.

    The kernel frees the links of a namespace when its last process and its name are gone.
    """
    for machine in machines:
        name = network(spec_name, machine)
        with contextlib.suppress(OSError):  # the file may be there without a namespace on it
            kernel.unmount(name)
        name.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # other labs, other people's namespaces
        NETWORKS.rmdir()


def plug(lab: str, machine: str, *, connected: bool) -> None:
    """Plug a machine's cable in or pull it. Raises WiringError."""
    state = "up" if connected else "down"
    _check(
        subprocess.run(
            ["ip", "-n", scoped(lab, at.LAN), "link", "set", machine, state],
            capture_output=True,
            text=True,
            check=False,
        )
    )


def plugged(lab: str, machine: str) -> bool:
    """Say whether a machine's cable is plugged in. A missing cable is not."""
    answer = subprocess.run(
        ["ip", "-n", scoped(lab, at.LAN), "-br", "link", "show", "dev", machine],
        capture_output=True,
        text=True,
        check=False,
    )
    return "LOWER_UP" in answer.stdout


def unplug_for_good(lab: str, machine: str) -> None:
    """Remove a machine's cables, as many as there are; `lay` makes them anew."""
    for link in (machine, f"{machine}.far"):
        subprocess.run(
            ["ip", "-n", scoped(lab, at.LAN), "link", "del", link],
            capture_output=True,
            check=False,
        )


def _bridges(spec: LabSpec) -> Iterable[str]:
    # No spanning tree and no snooping: a plain switch that forwards from the first frame on.
    kind = "type bridge stp_state 0 mcast_snooping 0"
    yield f"link add {BRIDGE} address {at.mac(at.LAN)} {kind}"
    yield f"link set {BRIDGE} up"
    if spec.routers:
        yield f"link add {FAR_BRIDGE} {kind}"
        yield f"link set {FAR_BRIDGE} addrgenmode none up"  # the gateway is no machine of this LAN


def _cables(spec: LabSpec, machine: str) -> list[str]:
    bridge = FAR_BRIDGE if machine == at.REMOTE else BRIDGE
    lines = _cable(spec, machine, machine, bridge, f"name {PORT} address {at.mac(machine)}")
    if machine in spec.routers:
        end = f"name {FAR_PORT} address {at.far_mac(Router(machine))}"
        lines += _cable(spec, machine, f"{machine}.far", FAR_BRIDGE, end)
    return lines


def _cable(spec: LabSpec, machine: str, link: str, bridge: str, end: str) -> list[str]:
    peer = f"peer {end} netns {scoped(spec.name, machine)}"
    return [f"link add {link} type veth {peer}", f"link set {link} master {bridge} up"]


def _ports(machine: str) -> list[str]:
    device = BRIDGE if machine == at.LAN else PORT
    lines = _port(device, at.ipv4(machine), at.ipv6(machine))
    if machine in set(Router):
        router = Router(machine)
        # It knows its two LANs and what it learns, and no way out: what it did not learn it drops.
        return lines + _port(FAR_PORT, at.far_v4(router), at.far_v6(router))
    if machine not in {at.LAN, at.REMOTE}:
        # Without a default route no ClusterIP is routable, and a hostNetwork pod gets ENETUNREACH.
        lines += [
            f"route add default via {at.ipv4(at.LAN).ip}",
            f"route add ::/0 via {at.ipv6(at.LAN).ip} dev {device}",
        ]
    return lines


def _port(device: str, v4: IPv4Interface, v6: IPv6Interface) -> list[str]:
    return [
        f"addr add {v4} dev {device}",
        f"addr add {v6} dev {device} nodad",
        f"link set {device} up",
    ]


def _routes(spec: LabSpec, machine: str) -> list[str]:
    """Return the routes to the pods of all other nodes, and to `remote`.

    The client and the control plane leave both to the gateway; routers know what they learn.
    """
    if machine == at.REMOTE:
        return _choices_v4(spec)
    if machine == at.CLIENT or machine in spec.routers:
        return []
    lines = _answers(spec)
    for node in spec.node_names:
        if node != machine:
            lines += [
                f"route add {at.pod_v4(node)} via {at.ipv4(node).ip}",
                f"route add {at.pod_v6(node)} via {at.ipv6(node).ip}",
            ]
    return lines


def _answers(spec: LabSpec) -> list[str]:
    """Return the routes by which a machine answers `remote`: the router that it asked through."""
    lines = []
    for router in spec.routers:
        v4, v6 = at.ipv4(router).ip, at.ipv6(router).ip
        lines += [
            f"route add {at.via_v4(router).ip}/32 via {v4}",
            f"route add {at.via_v6(router).ip}/128 via {v6}",
        ]
        if router is spec.routers[0]:
            lines += [f"route add {at.REMOTE_V4} via {v4}", f"route add {at.REMOTE_V6} via {v6}"]
    return lines


def _choices_v4(spec: LabSpec) -> list[str]:
    """Return an address, a routing table and a rule for each router; the first is the default."""
    lines = [f"route add default via {at.far_v4(spec.routers[0]).ip}"]
    for router in spec.routers:
        table = at.table(router)
        lines += [
            f"addr add {at.via_v4(router)} dev {PORT}",
            f"route add default via {at.far_v4(router).ip} table {table}",
            f"rule add from {at.via_v4(router).ip} lookup {table}",
        ]
    return lines


def _choices_v6(spec: LabSpec) -> list[str]:
    """Do what `_choices_v4` does; in one batch with it `ip` would take each rule for IPv4."""
    lines = [f"route add default via {at.far_v6(spec.routers[0]).ip}"]
    for router in spec.routers:
        table = at.table(router)
        # Never a source by itself, so that who names none asks by the first router's way.
        lines += [
            f"addr add {at.via_v6(router)} dev {PORT} nodad preferred_lft 0",
            f"route add default via {at.far_v6(router).ip} table {table}",
            f"rule add from {at.via_v6(router).ip} lookup {table}",
        ]
    return lines


def _sysctls(machine: str) -> tuple[str, ...]:
    if machine == at.LAN:
        return _ALL + _ROUTER + _SWITCH
    if machine in set(Router):
        return _ALL + _ROUTER + _MULTIPATH
    if machine == at.REMOTE:
        return _ALL
    return _ALL if machine in {at.CLIENT, at.CONTROL_PLANE} else _ALL + _ROUTER


def _batches(
    spec: LabSpec,
    batches: dict[str, Sequence[str]],
    *,
    lock: int,
    make: bool = False,
    options: tuple[str, ...] = (),
) -> None:
    """Run one batch of `ip` commands in each namespace, all at once; `make` the namespaces first."""
    running = []
    for machine, lines in batches.items():
        name = network(spec.name, machine)
        command = ["nsenter", f"--net={name}", "ip", *options, "-batch", "-"]
        if make:
            name.touch()
            sets = (pair.partition("=") for pair in _sysctls(machine))
            script = "".join(f"echo {value} > /proc/sys/{key}\n" for key, _, value in sets)
            command = ["unshare", f"--net={name}", "sh", "-ec", f"{script}exec ip -batch -"]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=(lock,),
        )
        assert process.stdin is not None
        process.stdin.write("\n".join(lines) + "\n")
        process.stdin.close()
        process.stdin = None
        running.append(process)
    for process in running:
        out, err = process.communicate()
        _check(subprocess.CompletedProcess(process.args, process.returncode, out, err))


def _check(done: "subprocess.CompletedProcess[str]") -> None:
    if done.returncode:
        raise WiringError(f"{' '.join(map(str, done.args))}: {done.stderr.strip()}")


def missing_ipv6() -> bool:
    """Say whether this kernel was started without IPv6, which a dual-stack lab cannot do without."""
    return not Path("/proc/sys/net/ipv6/conf/all").is_dir()
