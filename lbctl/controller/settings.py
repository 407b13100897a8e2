"""Read the command line of lb-controller into one value, or end with one line and status 2."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lbctl.kube.groups import OWN_GROUP, Groups, groups
from lbctl.model.outcome import Problem
from lbctl.run.flags import (
    CONTROLLER_PORT,
    Endpoint,
    FlagParser,
    boolean,
    endpoint,
    refuse_to_start,
)

PROGRAM = "lb-controller"
WEBHOOK_PORT = 9443


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerSettings:
    """Hold what the flags say."""

    namespace: str
    kubeconfig: Path | None
    groups: Groups
    load_balancer_class: str | None
    leader_elect: bool
    identity: str
    installation: str
    listen: Endpoint
    webhook_port: int
    """0: no webhook."""
    log_level: str
    log_format: str

    @property
    def webhook_service(self) -> str:
        """Return the name that the chart gives the webhook's Service and Secret."""
        return f"{self.installation}-webhook"

    @property
    def webhook_configuration(self) -> str:
        """Return the name that the chart gives the ValidatingWebhookConfiguration."""
        return f"{self.namespace}-{self.installation}"

    @property
    def lease(self) -> str:
        """Return the name of the Lease that the replicas contend for."""
        return f"{self.installation}-controller"


def read_settings(arguments: Sequence[str], environ: Mapping[str, str]) -> ControllerSettings:
    """Return the settings.

    Raises:
        SystemExit: a flag is wrong (status 2, one line), or help was asked for.

    """
    flags = flag_parser(environ).parse_args(arguments)
    return ControllerSettings(
        namespace=flags.namespace,
        kubeconfig=flags.kubeconfig,
        groups=flags.api_group,
        load_balancer_class=flags.load_balancer_class or None,
        leader_elect=flags.leader_elect,
        identity=flags.identity or socket.gethostname(),
        installation=flags.installation,
        listen=flags.listen,
        webhook_port=flags.webhook_port,
        log_level=flags.log_level,
        log_format=flags.log_format,
    )


def probe_port(port: int, flag: str) -> None:
    """End the process with one line if somebody else listens on `port` already.

    kopf would not notice: it shares its port with whoever allows it.

    Raises:
        SystemExit: the port is taken.

    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
            probe.listen(1)
        except OSError as error:
            refuse_to_start(
                PROGRAM, f"{flag} {port}: cannot listen: {error.strerror}; choose another port"
            )


def flag_parser(environ: Mapping[str, str]) -> FlagParser:
    """Return the flags of lb-controller; the reference page is generated from it."""
    parser = FlagParser(PROGRAM, "Allocate external IPs to Services of type LoadBalancer.", environ)
    parser.add_flag(
        "--namespace",
        help="where the product's own objects are",
        parse=_dns_label,
        required=True,
    )
    parser.add_flag(
        "--kubeconfig", help="login; default: the pod's service account", parse=_existing_file
    )
    parser.add_flag(
        "--api-group",
        help="API group of the configuration objects: lbctl.io or metallb.io",
        parse=_known_group,
        default=_known_group(OWN_GROUP),
    )
    parser.add_flag(
        "--load-balancer-class",
        help="serve only Services of this spec.loadBalancerClass; default: those without one",
        default="",
    )
    parser.add_flag(
        "--leader-elect",
        help="whether replicas contend for a Lease",
        parse=boolean,
        default=True,
    )
    parser.add_flag("--identity", help="name in the Lease; default: the host name", default="")
    parser.add_flag(
        "--installation",
        help="the chart's full name, from which the names of its objects follow",
        parse=_dns_label,
        default="lbctl",
    )
    parser.add_flag(
        "--listen",
        help="ADDR:PORT of /healthz, /readyz and /metrics",
        parse=endpoint,
        default=Endpoint(host="", port=CONTROLLER_PORT),
    )
    parser.add_flag(
        "--webhook-port",
        help="port of the admission server; 0: none",
        parse=_port,
        default=WEBHOOK_PORT,
    )
    parser.add_logging_flags()
    return parser


def _dns_label(text: str) -> str:
    bare = text.replace("-", "")
    if not (
        0 < len(text) <= 63
        and bare.isascii()
        and bare.isalnum()
        and text == text.lower()
        and text[0] != "-"
        and text[-1] != "-"
    ):
        raise ValueError(f"{text!r} is not a name of lower-case letters, digits and '-'")
    return text


def _existing_file(text: str) -> Path:
    path = Path(text)
    try:
        there = path.is_file()
    except OSError as error:  # a directory that we may not enter, a name that is too long
        raise ValueError(f"cannot look at {text}: {error.strerror}") from error
    if not there:
        raise ValueError(f"there is no file {text}")
    return path


def _known_group(text: str) -> Groups:
    table = groups(text)
    if isinstance(table, Problem):
        raise ValueError(table.message)  # noqa: TRY004 - the word that the flag parser expects
    return table


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > 65535:
        raise ValueError(f"{text!r} is not a port from 0 to 65535")
    return int(text)
