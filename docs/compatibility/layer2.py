"""Rows about layer 2: who is elected, what is answered and announced, what a failure does."""

from __future__ import annotations

from docs.compatibility.table import BEHAVIOUR, Section

ELECTION = Section(
    title="Electing",
    rows=(
        BEHAVIOUR.same(
            "order of nodes",
            "preferences, then sha256(node#address) of the first ingress address",
            "election::test_the_order_is_that_of_metallb",
            "election::test_the_heavier_node_goes_before_the_hash",
            "adverts::test_the_first_in_rendezvous_order_owns_the_address_and_the_others_know_why_not",
        ),
        BEHAVIOUR.better(
            "nodes outside the address's subnet",
            "come last, before preferences count; so a mixed cluster may elect two nodes where "
            "only some have the subnet",
            "election::test_a_node_with_the_subnet_goes_before_weight_and_hash",
            "adverts::test_the_node_with_the_subnet_is_preferred_and_a_pool_in_no_subnet_is_noted",
        ),
        BEHAVIOUR.better(
            "both addresses of a dual-stack Service",
            "on one node where one can do both; apart where it cannot",
            "adverts::test_both_addresses_of_a_dual_stack_service_go_to_one_node_where_both_can",
        ),
        BEHAVIOUR.same(
            "a shared address",
            "one owner for all its Services",
            "adverts::test_services_that_share_an_address_have_one_owner_that_serves_both",
        ),
        BEHAVIOUR.same(
            "no advertisement, no selected node, no endpoint",
            "nobody announces; here `explain` says which",
            "adverts::test_when_nobody_announces_the_plan_says_why",
            "explain::test_explain_says_who_could_announce_and_why_nobody_does",
        ),
        BEHAVIOUR.same(
            "stickiness",
            "none: a node that returns takes its addresses back, the others keep theirs",
            "election::test_a_node_that_leaves_moves_only_its_own_addresses",
        ),
        BEHAVIOUR.better(
            "withdrawal reasons",
            "one for each node in `lbctl explain`; a log line of each speaker there",
            "explain::test_explain_says_who_could_announce_and_why_nobody_does",
            "eligibility::test_each_rule_refuses_with_its_own_reason_and_a_sentence",
        ),
        BEHAVIOUR.same(
            "NetworkUnavailable",
            "no candidate",
            "eligibility::test_each_rule_refuses_with_its_own_reason_and_a_sentence",
        ),
        BEHAVIOUR.same(
            "node.kubernetes.io/exclude-from-external-load-balancers",
            "whatever its value",
            "eligibility::test_each_rule_refuses_with_its_own_reason_and_a_sentence",
            "lab_announcing::test_the_exclude_label_moves_the_address",
        ),
        BEHAVIOUR.same(
            "cordon",
            "changes nothing",
            "objects::test_a_heartbeat_of_a_node_is_no_news",
        ),
        BEHAVIOUR.better(
            "node NotReady, or tainted out-of-service",
            "no candidate, unless no node at all is Ready; ignored there",
            "adverts::test_a_node_that_is_not_ready_loses_the_address_while_another_is_ready",
            "adverts::test_when_no_node_is_ready_the_address_stays_where_it_was",
        ),
        BEHAVIOUR.better(
            "interface missing, down or without carrier",
            "the node is no candidate; there it wins and cannot announce",
            "eligibility::test_each_rule_refuses_with_its_own_reason_and_a_sentence",
            "lab_announcing::test_the_owners_link_without_carrier_moves_the_address",
        ),
        BEHAVIOUR.better(
            "all speakers judge by the same inputs",
            "one plan from API objects alone, no speaker's private view",
            "one_owner::test_an_address_has_one_owner_at_most_among_all_speakers",
            "conductor::test_the_other_nodes_own_nothing",
        ),
        BEHAVIOUR.better(
            "an address in status that is in no pool, or on two Services",
            "not announced; the older of two is",
            "adverts::test_an_address_outside_every_pool_is_not_announced",
            "adverts::test_of_two_services_with_one_address_the_younger_is_never_announced",
        ),
        BEHAVIOUR.better(
            "a pool edit that takes an announced address away",
            "falls silent when nobody may announce; the edit is refused by the speaker there",
            "adverts::test_an_address_outside_every_pool_is_not_announced",
            "conductor::test_an_address_that_nobody_announces_any_more_falls_silent_at_once",
        ),
        BEHAVIOUR.same(
            "speaker start",
            "nothing is announced before all inputs are read",
            "conductor::test_nothing_is_commanded_before_every_input_has_synced",
        ),
    ),
)

ENDPOINTS = Section(
    title="Endpoints",
    rows=(
        BEHAVIOUR.same(
            "ready true or absent",
            "usable, also with serving false and with publishNotReadyAddresses",
            "corners::test_an_endpoint_counts_by_its_three_conditions",
        ),
        BEHAVIOUR.better(
            "terminating but serving",
            "usable; with Local only where no node has a ready endpoint, as kube-proxy does it",
            "eligibility::test_endpoints_decide_by_the_table",
            "adverts::"
            "test_a_draining_endpoint_holds_a_local_address_only_while_no_eligible_node_has_a_ready_one",
        ),
        BEHAVIOUR.refused(
            "serving, neither ready nor terminating",
            "MetalLB counts it; kube-proxy sends no traffic there, and Kubernetes makes none",
            "corners::test_an_endpoint_counts_by_its_three_conditions",
        ),
        BEHAVIOUR.same(
            "externalTrafficPolicy Cluster",
            "any usable endpoint, wherever it is",
            "corners::test_with_cluster_policy_it_does_not_matter_where_the_endpoints_are",
        ),
        BEHAVIOUR.same(
            "externalTrafficPolicy Local",
            "only nodes with a usable endpoint; one without nodeName is local to none",
            "adverts::test_a_local_service_is_announced_where_its_endpoints_are",
            "eligibility::test_an_endpoint_without_a_node_is_local_to_none",
        ),
        BEHAVIOUR.same(
            "an endpoint in two slices",
            "one usable entry is enough",
            "eligibility::test_an_endpoint_in_two_slices_counts_once_in_its_best_state",
        ),
        BEHAVIOUR.better(
            "family of endpoints",
            "each address counts those of its family; not considered there",
            "adverts::"
            "test_both_addresses_of_a_dual_stack_service_are_planned_each_with_its_own_endpoints",
        ),
        BEHAVIOUR.same(
            "a slice without a Service's label",
            "ignored",
            "objects::test_a_slice_of_names_counts_for_no_family_and_one_of_nobody_is_dropped",
        ),
    ),
)

ANSWERING = Section(
    title="ARP and NDP",
    text="Frame by frame: [ARP](arp.md) and [NDP](ndp.md).",
    rows=(
        BEHAVIOUR.same(
            "which links",
            "Ethernet with broadcast and ARP, no bridge port, bond slave or VRF member; IPv4 "
            "needs no address on it, IPv6 a link-local one",
            "inventory::test_only_links_with_neighbors_of_their_own_could_announce",
            "eligibility::test_ipv4_needs_no_link_local_address",
            "eligibility::test_families_are_judged_apart",
        ),
        BEHAVIOUR.same(
            "excludel2.yaml (announcedInterfacesToExclude)",
            "`--exclude-interfaces`, in the chart `speaker.excludeInterfaces`: the same regular "
            "expressions by default, and those of cilium and vxlan",
            "inventory::test_the_excluded_interfaces_are_those_of_the_patterns_and_no_others",
            "inventory::test_the_default_leaves_out_what_metallb_leaves_out",
            "speaker_main::test_the_flags_that_say_what_may_announce_are_metallbs_by_default",
        ),
        BEHAVIOUR.better(
            "new and changed links",
            "by netlink events instead of every 10 s; announced anew",
            "wire::test_a_link_that_appears_later_is_opened_then",
            "wire::test_a_link_that_comes_back_is_announced_on_again",
            "links::test_the_inventory_agrees_with_pyroute2_after_every_change",
        ),
        BEHAVIOUR.same(
            "ARP reply",
            "unicast, from the link's own MAC; frames for another host are not answered",
            "wire::test_the_kernel_of_a_client_resolves_an_owned_address",
            "bpf::test_frames_for_another_host_are_rejected_in_promiscuous_mode",
        ),
        BEHAVIOUR.better(
            "solicitation without source link-layer option",
            "answered; ignored there",
            "ndp::test_a_solicitation_without_the_source_option_is_answered_too",
        ),
        BEHAVIOUR.better(
            "duplicate address probe",
            "answered, so the prober gives up; ignored there for IPv6",
            "wire::test_a_probe_for_a_duplicate_address_is_answered",
        ),
        BEHAVIOUR.better(
            "override flag of an answer",
            "set, so that it corrects a wrong entry",
            "ndp::test_a_patched_answer_is_a_valid_advertisement",
        ),
        BEHAVIOUR.better(
            "gratuitous ARP",
            "request and reply as there, with a target that Linux believes at once",
            "arp::test_the_gratuitous_reply_names_its_sender_as_target_hardware_address",
            "wire::test_an_announcement_moves_the_entry_of_a_client",
        ),
        BEHAVIOUR.same(
            "unsolicited neighbor advertisement",
            "to all nodes, S=0, O=1",
            "ndp::test_the_announcement_overrides_and_is_not_solicited",
        ),
        BEHAVIOUR.better(
            "rounds",
            "six in 4.4 s, three of them in the first 0.2 s; five there, 1.1 s apart; paced",
            "announce::test_six_rounds_are_due_by_the_schedule",
            "announce::test_many_addresses_are_paced_and_first_rounds_come_first",
        ),
        BEHAVIOUR.refused(
            "every later change announces for 5 s more",
            "only a new owner, a newer epoch or a link that comes back announces",
            "fast_conductor::test_a_command_announces_what_it_claims_anew",
        ),
        BEHAVIOUR.same(
            "withdrawal",
            "silence; no frame says goodbye",
            "wire::test_a_removed_address_falls_silent_at_once",
        ),
        BEHAVIOUR.same(
            "solicited-node groups",
            "joined for each address; here beyond the limit of one socket too",
            "wire::test_more_groups_are_joined_than_one_socket_takes",
        ),
        BEHAVIOUR.same(
            "the address is on no interface",
            "kube-proxy takes the traffic; nothing stays in the kernel after a crash",
            "wire::test_nothing_answers_for_a_killed_fast_path",
        ),
    ),
)

FAILURES = Section(
    title="Failures and hand-over",
    rows=(
        BEHAVIOUR.later(
            "dead node or cut-off node noticed in 4 to 6 s (memberlist)",
            "speakers do not watch each other: Node readiness decides, 40 s by default",
            "lab_announcing::"
            "test_a_power_cut_moves_the_address_and_a_reboot_brings_the_speaker_back",
        ),
        BEHAVIOUR.later(
            "dead speaker pod noticed in 4 to 6 s (memberlist)",
            "while the fast path lives nothing is lost; a pod that never comes back keeps its "
            "addresses until its SpeakerStatus goes or the node is NotReady",
            "speaker::test_killing_lb_speaker_moves_nothing",
        ),
        BEHAVIOUR.not_applicable(
            "memberlist: port 7946, Secret, ConfigMap, WAN settings",
            "there is no gossip",
        ),
        BEHAVIOUR.better(
            "SIGTERM",
            "the successor announces first, the old owner stops when it hears it",
            "speaker::test_sigterm_hands_over_and_ends_with_status_zero",
            "speaker::test_a_pod_that_is_stopped_hands_over_with_both_its_processes",
        ),
        BEHAVIOUR.better(
            "grace period",
            "20 s by default, as the hand-over and the wait of GRACEFUL_SHUTDOWN want; 0 in MetalLB's "
            "chart",
            "rights::test_a_speaker_has_time_to_hand_over",
        ),
        BEHAVIOUR.better(
            "speaker killed",
            "the fast path goes on answering; addresses move there",
            "speaker::test_killing_lb_speaker_moves_nothing",
        ),
        BEHAVIOUR.same(
            "API server away",
            "nothing changes",
            "speaker::test_an_api_outage_changes_nothing",
        ),
        BEHAVIOUR.better(
            "two owners after a partition",
            "a speaker without the API server lets go when it hears a peer; both go on there",
            "speaker::test_a_speaker_cut_off_from_the_api_lets_go_when_a_peer_claims_its_address",
            "contact::test_a_claim_heard_in_the_silence_counts_when_the_silence_is_long_enough",
        ),
        BEHAVIOUR.better(
            "late commands",
            "an older epoch is refused by the fast path",
            "wire::test_a_late_command_of_an_older_epoch_changes_nothing",
            "fast::test_a_command_of_an_older_epoch_is_refused",
        ),
    ),
)

SECTIONS = (ELECTION, ENDPOINTS, ANSWERING, FAILURES)
