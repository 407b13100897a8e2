"""Rows about BGP: peers, advertisements, communities and BFD profiles."""

from __future__ import annotations

from typing import Final

from docs.compatibility.table import BEHAVIOUR, FIELD, Row, Section

_JUDGED: Final = (
    "bgp_kinds::test_a_spec_is_good_or_refused_with_its_field_and_a_cure",
    "bgp_kinds::test_every_field_of_a_peer_is_read",
)
_ACCEPTED: Final = (
    "ours: the condition `Accepted` with a reason; in its group ConfigurationState and Events tell",
    "accepted::test_every_object_of_bgp_shows_its_verdict_and_the_summary_names_the_refused",
    "accepted::test_in_metallbs_group_a_refused_peer_is_told_by_an_event_and_the_summary",
)


def _better(name: str, how: str, *tests: str) -> Row:
    return BEHAVIOUR.better(name, how, *tests)


def _peer(name: str, how: str, *tests: str) -> Row:
    return FIELD.same(f"BGPPeer spec.{name}", how, *_JUDGED, *tests)


PEER = Section(
    title="BGPPeer",
    text="In the form of MetalLB's v1beta2. An empty string counts as an absent field.",
    rows=(
        _peer(
            "myASN",
            "from 1",
            "bgp_matrix::test_the_path_of_an_external_session_is_our_asn_without_local_preference",
        ),
        _peer(
            "peerASN",
            "0 counts as absent; one of it and dynamicASN",
            "bgp_settings::test_an_asn_that_we_do_not_expect_is_refused_in_words_of_the_standard",
        ),
        _peer(
            "dynamicASN",
            "internal or external, learnt from OPEN",
            "bgp_settings::test_a_peer_of_any_other_asn",
        ),
        _peer(
            "localASN",
            "refused for a peer of our own AS, and when it is the peer's",
            "bgp_settings::test_the_peer_sees_the_local_asn_alone",
        ),
        _peer(
            "peerAddress",
            "one of it and interface; a link-local one is refused",
            "bgp_how_to::test_a_router_that_is_configured_as_the_how_to_says_learns_the_routes",
        ),
        _peer(
            "interface",
            "the one router that advertises itself on the link",
            "routers::test_an_unnumbered_session_with_the_router_that_advertises_itself",
            "unnumbered::test_a_router_that_waits_for_the_node_learns_the_routes_over_a_link_without_addresses",
            "peering::test_an_unnumbered_session_without_one_router_says_why",
        ),
        _peer(
            "sourceAddress",
            "must be of the peer's family; refused beside interface",
            "bgp_matrix::test_a_session_over_a_hop_from_another_source_address",
            "bgp_settings::test_a_source_address_that_is_not_here_is_named",
        ),
        _peer("peerPort", "default 179, 1 to 16384"),
        _peer(
            "holdTime",
            "0 or at least 3 s; 90 s where nothing is said",
            "bgp_kinds::test_an_absent_time_follows_from_the_other_three_to_one",
        ),
        _peer(
            "keepaliveTime",
            "at most holdTime; and not 0 beside a holdTime",
            "bgp_kinds::test_an_absent_time_follows_from_the_other_three_to_one",
        ),
        _peer("connectTime", "1 to 65535 whole seconds"),
        _peer(
            "routerID",
            "an IPv4 address other than 0.0.0.0; peers of one node may differ; the node's own "
            "IPv4 address if absent",
            "peering::test_the_identifier_is_the_nodes_address_or_made_of_its_name",
        ),
        _peer(
            "nodeSelectors",
            "one is enough; empty: every node",
            "peers::test_a_peer_has_sessions_on_the_nodes_that_it_selects",
        ),
        _peer(
            "password",
            "at most 80 bytes, and never repeated in a message",
            "bgp_kinds::test_a_password_is_in_no_message_and_in_no_repr",
            "bgp_matrix::test_an_md5_password_that_fits",
        ),
        _peer(
            "passwordSecret.name",
            "of type kubernetes.io/basic-auth",
            "peering::test_a_password_comes_from_its_secret",
        ),
        _peer(
            "passwordSecret.namespace",
            "ignored there; here another namespace than the peer's is refused",
            "bgp_kinds::test_a_secret_of_another_namespace_is_refused",
        ),
        FIELD.later(
            "BGPPeer spec.bfdProfile",
            "refused with the reason `BfdUnsupported`; BFD is missing",
            "peers::test_a_peer_is_judged_by_itself",
            "admission::test_what_a_session_cannot_do_yet_is_refused_at_the_door_as_in_the_condition",
        ),
        _peer(
            "enableGracefulRestart",
            "may be changed; the router keeps routes for 120 s",
            "bgp_matrix::test_the_route_stays_while_the_speaker_dies_and_comes_back",
        ),
        _peer(
            "ebgpMultiHop",
            "refused for a peer of our own AS; without it the TTL is 1, as in MetalLB's FRR modes (its native "
            "mode limits none)",
            "peering::test_the_ttl_keeps_an_external_session_to_its_link",
        ),
        _peer("ttlSecurityHops", "ours: GTSM", "bgp_matrix::test_gtsm_on_both_ends"),
        FIELD.refused(
            "BGPPeer spec.vrf",
            "refused with the reason `VrfUnsupported`: sessions run in the main routing table",
            "peers::test_a_peer_is_judged_by_itself",
            "admission::test_what_a_session_cannot_do_yet_is_refused_at_the_door_as_in_the_condition",
        ),
        _peer(
            "disableMP",
            "deprecated; holds anyway, and contradicts dualStackAddressFamily",
            "bgp_kinds::test_a_session_by_interface_carries_both_families",
        ),
        _peer(
            "dualStackAddressFamily",
            "IPv4 and IPv6 in one session; ours takes them to every router",
            "bgp::test_a_router_learns_both_families_and_every_change",
            "bgp_kinds::test_a_session_by_interface_carries_both_families",
        ),
        FIELD.better("BGPPeer status.conditions", *_ACCEPTED),
        _better(
            "one bad peer",
            "stops itself alone; there the whole configuration is refused",
            "peers::test_a_bad_peer_stops_itself_alone",
        ),
        _better(
            "two peers with one address or interface on a node",
            "the older one has the session on the nodes that both select, the younger is told why; "
            "peers with other ports or sources are no duplicates",
            "peers::test_of_two_peers_that_mean_one_session_the_older_has_it",
            "peers::test_a_peer_that_another_excludes_on_some_nodes_stays_in_effect_and_says_so",
        ),
        BEHAVIOUR.not_applicable(
            "conversion from BGPPeer v1beta1",
            "MetalLB's API server side converts its deprecated version; ours begins with the fields "
            "of v1beta2, and in its group v1beta2 is read",
            "bgp_kinds::test_a_peer_of_metallb_is_read_in_its_second_version",
        ),
        BEHAVIOUR.better(
            "Secret of a password that is missing or of another type",
            "the session waits, BGPSessionStatus says for what, and no other session notices; "
            "another password rolls the one session",
            "peering::test_a_session_waits_for_its_password_and_says_so",
            "peering::test_a_peer_without_a_password_does_not_wait_for_that_of_another",
        ),
    ),
)

_ADVERTISEMENT_READ: Final = "bgp_kinds::test_every_field_of_an_advertisement_is_read"


_TOLD: Final = (
    "peering::test_a_peer_is_told_of_an_address_with_the_attributes_of_its_advertisement",
)


def _advertisement(name: str, how: str, *tests: str) -> Row:
    return FIELD.same(f"BGPAdvertisement spec.{name}", how, *tests, *_TOLD)


ADVERTISEMENT = Section(
    title="BGPAdvertisement",
    rows=(
        _advertisement(
            "aggregationLength",
            "1 to 32, default 32",
            "routes::test_an_advertisement_says_how_a_route_looks",
            "routes::test_an_aggregate_must_not_reach_beyond_the_entry_of_the_pool",
        ),
        _advertisement(
            "aggregationLengthV6",
            "1 to 128, default 128; 0 would be a default route",
            "routes::test_both_families_travel_where_the_session_carries_them",
        ),
        _advertisement(
            "localPref",
            "0: unset, which is 100 whatever the router",
            "routes::test_an_advertisement_says_how_a_route_looks",
        ),
        _advertisement(
            "communities",
            "standard, large and (ours) extended ones, and names; at most 63; an unknown name "
            "keeps this advertisement out of effect and no other",
            "routes::test_an_advertisement_says_how_a_route_looks",
            "bgp_advertisements::test_an_advertisement_is_judged_beside_the_names_that_exist",
            _ADVERTISEMENT_READ,
        ),
        _advertisement(
            "ipAddressPools",
            "a name of no pool is told in condition and webhook",
            "routes::test_an_address_that_is_not_announced_has_the_reason_and_no_route",
            "admission::test_a_bgp_advertisement_of_a_missing_pool_passes_with_a_warning",
        ),
        _advertisement("ipAddressPoolSelectors", "united with the names", _ADVERTISEMENT_READ),
        _advertisement(
            "nodeSelectors",
            "one is enough",
            "routes::test_an_address_that_is_not_announced_has_the_reason_and_no_route",
        ),
        _advertisement(
            "serviceSelectors",
            "one is enough; refused beside an aggregation",
            "routes::test_an_address_that_is_not_announced_has_the_reason_and_no_route",
            "bgp_kinds::test_service_selectors_are_read_beside_whole_addresses",
        ),
        _advertisement(
            "peers",
            "by name, empty: every peer; a name of no peer is told",
            "routes::test_peers_that_hear_the_same_share_one_table",
            "bgp_advertisements::test_an_advertisement_is_judged_beside_the_names_that_exist",
        ),
        FIELD.better("BGPAdvertisement status.conditions", *_ACCEPTED),
        _better(
            "which nodes announce",
            "every node that is not excluded, without network or draining, with endpoints as kube-"
            "proxy uses them; out-of-service nodes too are left out",
            "routes::test_every_eligible_node_announces_an_address_to_every_peer",
            "routes::test_an_address_that_is_not_announced_has_the_reason_and_no_route",
            "routes::test_a_node_whose_kubelet_is_silent_or_whose_fast_path_is_gone_announces",
        ),
        _better(
            "draining endpoints with externalTrafficPolicy Local",
            "give way to ready ones elsewhere, with a farewell (RFC 8326) instead of a hole",
            "routes::test_a_draining_endpoint_announces_while_no_other_node_that_may_has_a_ready_one",
            "routes::test_a_route_that_goes_while_the_node_can_serve_parts_with_graceful_shutdown",
            "peering::test_a_drained_node_says_that_its_routes_end_before_it_withdraws_them",
        ),
        _better(
            "one prefix of several advertisements",
            "communities are united; different localPref stop this prefix for this peer, with a "
            "reason, and nothing else. There the whole configuration is refused",
            "routes::test_several_advertisements_of_one_prefix_are_united",
            "routes::test_two_preferences_for_one_prefix_and_peer_are_a_conflict",
            "routes::test_a_conflict_stops_one_prefix_for_one_peer_and_nothing_else",
        ),
        _better(
            "an aggregate that is wider than the pool",
            "is not announced for that entry of the pool, with a reason; there the whole "
            "configuration is refused",
            "routes::test_an_aggregate_must_not_reach_beyond_the_entry_of_the_pool",
            "routes::test_an_aggregate_that_is_too_wide_for_one_entry_serves_the_others",
        ),
    ),
)

COMMUNITY = Section(
    title="Community",
    rows=(
        FIELD.same(
            "Community spec.communities.name",
            "a colon is refused, which no reference could spell",
            "bgp_kinds::test_the_names_of_a_community_object_are_read_in_order",
        ),
        FIELD.same(
            "Community spec.communities.value",
            "theirs, and extended ones",
            "bgp_kinds::test_the_names_of_a_community_object_are_read_in_order",
            "community::test_an_extended_community_has_the_octets_of_its_type",
        ),
        FIELD.better("Community status.conditions", *_ACCEPTED),
        _better(
            "one name in two Community objects",
            "the older definition counts and the younger object is told; there the whole "
            "configuration is refused",
            "bgp_advertisements::"
            "test_of_two_definitions_of_a_name_the_older_counts_and_the_rest_of_the_younger_too",
        ),
    ),
)

_BFD_FIELDS: Final = {
    "receiveInterval": "10 to 60000 ms, 300 if absent",
    "transmitInterval": "10 to 60000 ms, 300 if absent",
    "detectMultiplier": "2 to 255, 3 if absent",
    "echoInterval": "10 to 60000 ms, 50 if absent",
    "echoMode": "default false",
    "passiveMode": "default false",
    "minimumTtl": "1 to 254, 254 if absent",
}

BFD_PROFILE = Section(
    title="BFDProfile",
    rows=(
        *(
            FIELD.later(
                f"BFDProfile spec.{name}",
                f"{how}; read and judged, BFD is missing",
                "bgp_kinds::test_a_bfd_profile_has_the_defaults_of_bfdd_and_every_field_is_read",
            )
            for name, how in _BFD_FIELDS.items()
        ),
        FIELD.better("BFDProfile status.conditions", *_ACCEPTED),
    ),
)

_COUNTED: Final = (
    "bgp_statuses::test_a_rendered_service_status_reads_back",
    "counted::test_it_counts_from_intent_to_what_was_observed_and_follows",
)


def _status(name: str, how: str) -> Row:
    rows = FIELD.better if how.startswith("ours") else FIELD.same
    return rows(f"ServiceBGPStatus status.{name}", how, *_COUNTED)


STATUS = Section(
    title="ServiceBGPStatus",
    rows=(
        FIELD.refused(
            "ServiceBGPStatus status.node",
            "one object speaks of a Service on all nodes: Services times nodes would be too many",
            "bgp_statuses::test_a_service_has_one_object_for_all_nodes",
        ),
        _status("serviceName", "cannot be changed"),
        _status("serviceNamespace", "cannot be changed"),
        _status("peers", "sorted names, of all nodes"),
        _status("addresses", "ours"),
        _status("nodes", "ours: how many are to announce"),
        _status("sessions.wanted", "ours: intent"),
        _status("sessions.established", "ours"),
        _status("sessions.sent", "ours: put on the wire"),
        _status("sessions.acknowledged", "ours: confirmed by the peer's TCP"),
        _better(
            "life of the object",
            "made, changed and deleted by the controller when that has lasted, one at a time, and "
            "never while Services wait; those of a MetalLB beside us stay as they are",
            "counted::test_it_goes_when_nobody_is_to_hear_of_the_service",
            "counted::test_a_restart_writes_nothing_and_removes_what_is_left_over",
            "counted::test_in_metallbs_group_it_has_metallbs_fields_and_metallbs_own_objects_stay",
        ),
        _better(
            "state of a session",
            "in metrics and logs there; here the kind BGPSessionStatus, one per node and peer",
            "bgp_statuses::test_a_rendered_session_reads_back",
            "bgp_statuses::test_a_session_has_an_object_of_its_own_that_goes_with_the_speakers_pod",
        ),
    ),
)

SESSIONS = Section(
    title="BGP sessions and failures",
    text="Beside MetalLB's native mode, or its FRR modes where the row says so.",
    rows=(
        _better(
            "IPv6 routes and IPv6 sessions",
            "in process; there in the FRR modes only",
            "bgp::test_a_router_learns_both_families_and_every_change",
            "bgp_matrix::test_a_session_of_one_family_carries_that_one_alone",
        ),
        _better(
            "hold timer",
            "a router that is silent is given up at the hold time; the native mode waits for TCP",
            "bgp::test_a_router_that_is_frozen_is_given_up_at_the_hold_time_and_gets_the_table_again",
        ),
        _better(
            "routes on the wire",
            "as few UPDATEs as the attributes allow, and End-of-RIB; there one for each prefix",
            "bgp::test_ten_thousand_routes_arrive_whole_and_leave_whole",
            "bgp::test_after_hundreds_of_changes_at_full_speed_the_router_holds_the_last_table",
        ),
        _better(
            "route refresh",
            "answered with the whole table; the native mode does not know it",
            "bgp_matrix::test_a_soft_reconfiguration_of_the_peer_asks_for_the_routes_and_gets_them",
        ),
        BEHAVIOUR.same(
            "UPDATEs of the router",
            "drained, counted and not used",
            "bgp_bad_peers::test_a_flood_of_updates_is_drained_while_our_routes_leave",
        ),
        BEHAVIOUR.same(
            "calls of the router",
            "never listened for",
            "bgp_driver::test_a_session_over_tcp_tells_the_table_and_each_change",
        ),
        _better(
            "pause before the next call",
            "doubles, with jitter; a router that closed for too many routes is held off and the "
            "session says so",
            "bgp_bad_peers::test_a_peer_that_closes_at_once_is_not_called_in_a_tight_circle",
            "bgp_settings::test_a_peer_with_a_limit_of_prefixes_is_held_off",
        ),
        _better(
            "a peer that is edited",
            "rolls its own session, and only if the session depends on the field; there every "
            "change closes it",
            "bgp_continuity::test_a_change_of_one_peer_leaves_every_other_uptime_unbroken",
            "bgp_driver::test_what_matters_to_the_next_connection_alone_ends_no_session",
        ),
        _better(
            "localPref that is not set",
            "100 with every router; there 0 or 100 by the mode",
            "routes::test_an_advertisement_says_how_a_route_looks",
            "bgp_matrix::test_every_attribute_inside_one_as",
        ),
        BEHAVIOUR.same(
            "an aggregate of Services with externalTrafficPolicy Local",
            "stays until the last of its addresses goes, also where a node has no endpoint of some",
            "routes::test_addresses_of_one_aggregate_are_one_route_that_stays_until_the_last_goes",
            "bgp_product::test_an_advertisement_with_aggregation_lengths_tells_the_aggregates",
        ),
        _better(
            "lb-speaker dies and comes back",
            "with graceful restart no packet is lost; the native mode's routes go",
            "bgp_restart::test_a_client_loses_no_packet_while_the_speaker_is_killed_and_comes_back",
        ),
        _better(
            "lb-speaker ends, a node is drained",
            "routes are marked GRACEFUL_SHUTDOWN first and withdrawn then, with a NOTIFICATION that "
            "says why at the end; there TCP closes",
            "bgp_product::test_a_planned_end_is_marked_first_and_withdrawn_then",
        ),
        BEHAVIOUR.same(
            "the API server is gone",
            "what was announced stays",
            "bgp_product::test_nothing_announced_changes_while_the_api_server_is_gone",
        ),
        BEHAVIOUR.same(
            "a node dies",
            "the router's hold timer ends its routes; BFD is missing",
            "lab_routed_demo::"
            "test_a_drain_costs_no_connection_and_a_cut_costs_only_those_of_the_node",
        ),
        BEHAVIOUR.same(
            "kubelet is silent, the network is not",
            "the node goes on announcing",
            "routes::test_a_node_whose_kubelet_is_silent_or_whose_fast_path_is_gone_announces",
        ),
    ),
)

SECTIONS: Final = (PEER, ADVERTISEMENT, COMMUNITY, BFD_PROFILE, STATUS, SESSIONS)
