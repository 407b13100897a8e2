"""List the kinds in the order in which docs and manifests show them. Pure."""

from __future__ import annotations

from lbctl.kube.crds import (
    bfd_profile,
    bgp_advertisement,
    bgp_peer,
    bgp_session_status,
    communities,
    configuration_state,
    ip_address_pool,
    l2_advertisement,
    service_bgp_status,
    service_l2_status,
    speaker_status,
)
from lbctl.kube.crds.table import Kind

KINDS: tuple[Kind, ...] = (
    ip_address_pool.KIND,
    l2_advertisement.KIND,
    bgp_peer.KIND,
    bgp_advertisement.KIND,
    communities.KIND,
    bfd_profile.KIND,
    service_l2_status.KIND,
    service_bgp_status.KIND,
    bgp_session_status.KIND,
    speaker_status.KIND,
    configuration_state.KIND,
)
