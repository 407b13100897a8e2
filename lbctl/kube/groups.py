"""Say in which API group and version each kind lives (`--api-group`). Pure.

With `metallb.io` lbctl serves the objects of an existing MetalLB: MetalLB's kinds are then read
and written in its group, under its schema, which would prune what it does not know. Kinds that
only we have stay in our own group whatever the setting. Every process and the command build
their paths from this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lbctl.model.outcome import Problem

OWN_GROUP = "lbctl.io"
OWN_VERSION = "v1beta1"
METALLB_GROUP = "metallb.io"

IP_ADDRESS_POOL = "IPAddressPool"
L2_ADVERTISEMENT = "L2Advertisement"
BGP_PEER = "BGPPeer"
BGP_ADVERTISEMENT = "BGPAdvertisement"
COMMUNITY = "Community"
BFD_PROFILE = "BFDProfile"
SERVICE_L2_STATUS = "ServiceL2Status"
SERVICE_BGP_STATUS = "ServiceBGPStatus"
BGP_SESSION_STATUS = "BGPSessionStatus"
SPEAKER_STATUS = "SpeakerStatus"
CONFIGURATION_STATE = "ConfigurationState"

_PLURALS: Mapping[str, str] = {
    IP_ADDRESS_POOL: "ipaddresspools",
    L2_ADVERTISEMENT: "l2advertisements",
    BGP_PEER: "bgppeers",
    BGP_ADVERTISEMENT: "bgpadvertisements",
    COMMUNITY: "communities",
    BFD_PROFILE: "bfdprofiles",
    SERVICE_L2_STATUS: "servicel2statuses",
    SERVICE_BGP_STATUS: "servicebgpstatuses",
    BGP_SESSION_STATUS: "bgpsessionstatuses",
    SPEAKER_STATUS: "speakerstatuses",
    CONFIGURATION_STATE: "configurationstates",
}
OURS_ALONE = frozenset({SPEAKER_STATUS, BGP_SESSION_STATUS})
"""Kinds that MetalLB does not have."""
_METALLB_VERSIONS: Mapping[str, str] = {BGP_PEER: "v1beta2"}
"""Where MetalLB's version has another name than ours: its v1beta1 of this kind is deprecated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """Hold where one kind is found. `group` is "" for the core group."""

    kind: str
    group: str
    version: str
    plural: str

    @property
    def api_version(self) -> str:
        """Return what `apiVersion` says in an object of this kind."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def own_schema(self) -> bool:
        """Return whether our CRD defines it, with conditions and every field of ours."""
        return self.group == OWN_GROUP

    def collection(self, namespace: str = "") -> str:
        """Return the request path of the kind's objects, in one namespace if one is given."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        inside = f"/namespaces/{namespace}" if namespace else ""
        return f"{root}{inside}/{self.plural}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """Hold the table for one setting of `--api-group`."""

    api_group: str
    resources: Mapping[str, Resource]

    def __getitem__(self, kind: str) -> Resource:
        return self.resources[kind]


def groups(api_group: str = OWN_GROUP) -> Groups | Problem:
    """Return the table for `api_group`, or the problem with that value of the flag."""
    if api_group not in (OWN_GROUP, METALLB_GROUP):
        return Problem(
            path="--api-group",
            message=f"{api_group!r} is not known; use {OWN_GROUP}, or {METALLB_GROUP} to serve "
            "the objects of an existing MetalLB",
        )
    return _table(api_group)


def own_groups() -> Groups:
    """Return the table for the default, our own group."""
    return _table(OWN_GROUP)


def _table(api_group: str) -> Groups:
    return Groups(
        api_group=api_group,
        resources={
            kind: Resource(
                kind=kind,
                group=OWN_GROUP if kind in OURS_ALONE else api_group,
                version=_METALLB_VERSIONS.get(kind, OWN_VERSION)
                if api_group == METALLB_GROUP and kind not in OURS_ALONE
                else OWN_VERSION,
                plural=plural,
            )
            for kind, plural in _PLURALS.items()
        },
    )


SERVICES = Resource(kind="Service", group="", version="v1", plural="services")
NODES = Resource(kind="Node", group="", version="v1", plural="nodes")
NAMESPACES = Resource(kind="Namespace", group="", version="v1", plural="namespaces")
SECRETS = Resource(kind="Secret", group="", version="v1", plural="secrets")
ENDPOINT_SLICES = Resource(
    kind="EndpointSlice", group="discovery.k8s.io", version="v1", plural="endpointslices"
)
