"""Rows about allocation: whose a Service is, which address it gets, what happens to it later."""

from __future__ import annotations

from docs.compatibility.table import BEHAVIOUR, EVENT, Section

OWNERSHIP = Section(
    title="Whose Service, and what it keeps",
    rows=(
        BEHAVIOUR.same(
            "spec.loadBalancerClass",
            "no class set: Services without one; a class set: that one only",
            "allocation::test_a_class_of_ours_is_served_and_no_class_is_not",
        ),
        BEHAVIOUR.better(
            "foreign addresses and host names in a status",
            "never written to; MetalLB clears them",
            "allocation::test_what_is_not_ours_is_not_written_to",
            "allocation::test_without_a_pool_nobody_elses_status_is_cleared",
            "end::test_services_of_others_are_never_written_to",
        ),
        BEHAVIOUR.same(
            "adopting what MetalLB gave",
            "addresses of our pools stay, with or without a mark",
            "allocation::test_an_address_of_our_pool_is_adopted_without_a_mark",
            "service::test_the_oldest_spelling_is_no_mark",
        ),
        BEHAVIOUR.same(
            "type changed away from LoadBalancer",
            "status and mark are cleared, the address is free",
            "end::test_deleting_a_service_frees_its_address_and_a_type_change_clears_it",
        ),
        BEHAVIOUR.better(
            "type and class changed in one update",
            "released at once; leaks there until a restart",
            "allocation::test_release_gives_the_address_to_the_oldest_waiting",
            "lab_allocation::test_dual_stack_classes_requests_and_type_flips",
        ),
        BEHAVIOUR.same(
            "restart",
            "what is lawful stays, who has an address goes first, nothing is written",
            "end::test_a_restart_with_five_hundred_services_changes_and_writes_nothing",
            "lab_allocation::"
            "test_a_controller_restart_with_500_services_changes_nothing_and_writes_nothing",
        ),
        BEHAVIOUR.better(
            "status emptied by somebody",
            "the same address comes back; another may there",
            "allocation::test_a_status_emptied_by_somebody_gets_the_same_address_back",
            "allocation::test_a_write_that_is_not_seen_yet_does_not_make_a_second_decision",
        ),
        BEHAVIOUR.better(
            "two controllers",
            "a Lease: one leads, a follower writes nothing, one that was frozen or cut off at most "
            "the write that was on its way",
            "lease::test_of_two_only_one_leads_and_a_release_hands_over_at_once",
            "leadership::test_no_address_is_kept_twice_whatever_happens_to_the_replicas",
            "lab_availability::test_a_leader_frozen_beyond_its_lease_steps_down_when_it_wakes",
            "faults::test_followers_write_nothing",
        ),
        BEHAVIOUR.better(
            "one address on two Services that do not share",
            "the older keeps it, the other moves and says why",
            "allocation::test_of_two_with_one_address_the_older_keeps_it_and_the_other_learns_why",
            "end::test_an_address_is_never_on_two_services_while_it_is_handed_over",
        ),
        BEHAVIOUR.same(
            "headless Service, or no cluster IP yet",
            "no address; reason NoClusterIP",
            "requests::test_what_cannot_be_given_is_refused_by_name",
        ),
        BEHAVIOUR.same(
            "status and mark in one write of services/status",
            "as a merge patch; the only right on Services besides reading",
            "lab_crds::test_address_mark_and_condition_of_a_service_ride_on_one_status_patch",
        ),
        BEHAVIOUR.better(
            "ipMode",
            "`VIP` is written; another mode beside our address is put right",
            "patches::test_an_ingress_without_a_mode_is_equal_and_one_with_another_mode_is_not",
        ),
        BEHAVIOUR.better(
            "conditions on Services",
            "`lbctl.io/Allocated` with reason and cure; those of others survive",
            "patches::test_a_refusal_says_why_and_what_to_do",
            "end::test_conditions_of_others_survive",
        ),
        BEHAVIOUR.same(
            "finalizers",
            "none: a Service can always be deleted",
            "end::test_deleting_a_service_frees_its_address_and_a_type_change_clears_it",
        ),
    ),
)

CHOICE = Section(
    title="Which pool, which address",
    rows=(
        BEHAVIOUR.same(
            "namespaces and selectors of serviceAllocation",
            "united, then ANDed with serviceSelectors; checked on every way to an address",
            "allocation::test_service_allocation_holds_on_every_way_to_an_address",
        ),
        BEHAVIOUR.same(
            "serviceAllocation with a priority only",
            "matches every Service",
            "allocation::test_service_allocation_holds_on_every_way_to_an_address",
        ),
        BEHAVIOUR.better(
            "order of pools",
            "pinned first, then the others by name; by chance there",
            "pools::test_pinned_pools_come_first_by_priority_and_zero_last_then_the_others_by_name",
            "allocation::test_the_trace_names_every_pool_tried_with_the_rule_that_refused",
        ),
        BEHAVIOUR.same(
            "order inside a pool",
            "as `addresses` says, ascending, .0 included",
            "free::test_addresses_go_in_the_order_of_the_ranges_ascending",
        ),
        BEHAVIOUR.better(
            "freed addresses",
            "chosen last, the longest free first, yet given at once when needed; the Service that "
            "had it last gets it before any other of the pool",
            "coming_back::test_a_service_that_changed_its_type_and_back_has_its_address_again",
            "free::test_a_freed_address_is_chosen_last_and_the_longest_free_first",
            "free::test_a_freed_address_is_given_at_once_if_nothing_else_is_free",
        ),
        BEHAVIOUR.better(
            "cost of a choice",
            "does not depend on the size of the pool; a linear scan there",
            "free::test_a_pool_may_have_any_size",
        ),
        BEHAVIOUR.same(
            "allocation and advertisements",
            "an address is given whether or not it will be announced",
            "corners::test_an_address_needs_no_advertisement",
        ),
        BEHAVIOUR.better(
            "who waits",
            "the oldest that can use a freed address gets it at once, in no resync",
            "allocation::test_release_gives_the_address_to_the_oldest_waiting",
            "allocator::TestAllocator",
        ),
        BEHAVIOUR.better(
            "a range of two families",
            "refused by schema and parser; a panic is in reach there",
            "crds::test_a_wrong_range_is_refused_with_a_cure",
        ),
    ),
)

REQUESTS = Section(
    title="Requests",
    rows=(
        BEHAVIOUR.same(
            "spec.loadBalancerIP",
            "one address",
            "service::test_addresses_are_requested_by_annotation_or_spec",
        ),
        BEHAVIOUR.better(
            "spec.loadBalancerIP beside the annotation",
            "refused only if they contradict each other",
            "service::test_addresses_are_requested_by_annotation_or_spec",
            "service::test_a_request_that_cannot_be_read_is_a_problem_of_its_service",
        ),
        BEHAVIOUR.same(
            "a request that cannot be read",
            "without an address: AllocationFailed; with one: it stays, LoadBalancerFailed",
            "requests::test_an_unreadable_request_warns_on_a_service_that_keeps_its_address",
            "said::test_each_change_is_told_under_metallbs_reason",
        ),
        BEHAVIOUR.same(
            "address and pool requested",
            "the address must be in that pool",
            "requests::test_what_cannot_be_given_is_refused_by_name",
        ),
        BEHAVIOUR.same(
            "family of the requested addresses",
            "must equal the Service's exactly, also with PreferDualStack",
            "requests::test_what_cannot_be_given_is_refused_by_name",
        ),
        BEHAVIOUR.same(
            "unknown pool requested",
            "refused; the reason tells a pool that is not in effect from none",
            "requests::test_what_cannot_be_given_is_refused_by_name",
        ),
        BEHAVIOUR.same(
            "request changed to a taken address",
            "the present one is given up, the Service waits",
            "requests::test_a_changed_request",
        ),
        BEHAVIOUR.same(
            "request taken back",
            "nothing moves",
            "corners::test_a_request_that_is_taken_back_moves_nothing",
        ),
        BEHAVIOUR.same(
            "requested pool changed",
            "an address of that pool",
            "requests::test_a_changed_request",
        ),
        BEHAVIOUR.better(
            "an address that somebody waiting asks for by name",
            "is left to that Service while there are others",
            "requests::test_who_waits_leaves_an_address_asked_for_by_name_while_there_are_others",
        ),
    ),
)

FAMILIES = Section(
    title="Two families",
    rows=(
        BEHAVIOUR.better(
            "both addresses from one pool",
            "each family may come from a pool of its own; moved there if they do",
            "requests::test_each_family_may_come_from_its_own_pool_and_ipv4_is_first",
        ),
        BEHAVIOUR.same(
            "PreferDualStack",
            "one family if there is no more",
            "requests::test_one_family_only",
        ),
        BEHAVIOUR.better(
            "RequireDualStack",
            "both or none; what a Service has already stays (cleared there)",
            "requests::test_require_dual_stack_takes_nothing_while_it_waits",
            "requests::test_a_second_family_that_is_not_to_be_had_does_not_cost_the_first",
        ),
        BEHAVIOUR.better(
            "a second family later",
            "from any pool, keeping the first; from the same pool only there",
            "requests::test_families_change_on_a_living_service",
            "requests::test_one_family_only",
        ),
        BEHAVIOUR.better(
            "order of two addresses",
            "IPv4 first, and it never flips",
            "requests::test_each_family_may_come_from_its_own_pool_and_ipv4_is_first",
        ),
        BEHAVIOUR.same(
            "ipFamilies changed on a living Service",
            "the address of a family that went is given up",
            "requests::test_families_change_on_a_living_service",
        ),
    ),
)

SHARING = Section(
    title="Sharing",
    rows=(
        BEHAVIOUR.same(
            "same key, no common port and protocol",
            "across namespaces; a key on one side only is not enough",
            "sharing::test_a_newcomer_joins_only_by_every_rule",
        ),
        BEHAVIOUR.same(
            "externalTrafficPolicy Local",
            "equal selectors only; never beside Cluster",
            "sharing::test_a_newcomer_joins_only_by_every_rule",
        ),
        BEHAVIOUR.same(
            "key, ports, policy or selector of the only user changed",
            "it keeps the address",
            "corners::test_a_service_alone_on_its_address_keeps_it_through_every_edit",
        ),
        BEHAVIOUR.same(
            "a key that comes later",
            "who waits is looked at again",
            "corners::test_a_sharing_key_that_comes_later_lets_who_waits_in",
        ),
        BEHAVIOUR.better(
            "sharers that no longer fit together",
            "the younger moves; there the one that was edited",
            "requests::test_a_sharer_whose_terms_no_longer_fit_moves_if_it_is_the_younger",
        ),
        BEHAVIOUR.better(
            "packing",
            "sharers gather on an address of their key before a free one is taken",
            "requests::test_sharers_gather_on_one_address_until_ports_collide",
        ),
        BEHAVIOUR.same(
            "a sharer leaves",
            "its ports are free at once",
            "requests::test_who_waits_for_a_port_is_served_when_a_sharer_leaves",
        ),
    ),
)

POOL_EDITS = Section(
    title="Pools edited with Services in them",
    rows=(
        BEHAVIOUR.same(
            "grown, autoAssign off",
            "nobody moves",
            "allocation::test_an_edited_pool_moves_only_whom_it_must",
        ),
        BEHAVIOUR.better(
            "renamed: deleted and created under another name",
            "seen as one step, nobody moves; else Services are cleared and get the very addresses "
            "that they had, there any of the pool",
            "allocation::test_an_edited_pool_moves_only_whom_it_must",
            "coming_back::test_a_pool_deleted_and_created_in_two_steps_moves_nobody",
        ),
        BEHAVIOUR.same(
            "shrunk, moved, restricted, avoidBuggyIPs on",
            "only those without a right to their address move or are cleared",
            "allocation::test_an_edited_pool_moves_only_whom_it_must",
        ),
        BEHAVIOUR.same(
            "deleted",
            "its Services move, or are cleared with a reason",
            "allocation::test_a_deleted_pool_clears_with_a_reason_or_moves",
        ),
        BEHAVIOUR.better(
            "edited into nonsense",
            "the pool says so, its Services keep their addresses and stay announced",
            "allocation::test_an_edited_pool_moves_only_whom_it_must",
            "adverts::test_a_pool_edited_into_nonsense_goes_on_announcing_what_it_gave",
        ),
        BEHAVIOUR.same(
            "labels of a Service",
            "a Service that loses the label loses the pool",
            "corners::test_a_service_that_loses_its_label_loses_the_pool",
        ),
        BEHAVIOUR.same(
            "labels of namespaces",
            "a namespace that loses the label loses the pool",
            "allocation::test_a_namespace_that_loses_its_label_loses_the_pool",
        ),
    ),
)

EVENTS = Section(
    title="Events",
    text="Reasons are MetalLB's, sentences are ours.",
    rows=(
        EVENT.same(
            "IPAllocated",
            "Normal",
            "said::test_each_change_is_told_under_metallbs_reason",
            "end::test_a_service_gets_an_address_with_mark_condition_and_event",
        ),
        EVENT.same(
            "AllocationFailed",
            "Warning",
            "said::test_each_change_is_told_under_metallbs_reason",
            "end::test_a_full_pool_refuses_with_reason_and_event_and_serves_when_one_is_freed",
        ),
        EVENT.same(
            "ClearAssignment",
            "Normal; also when a Service is released",
            "said::test_each_change_is_told_under_metallbs_reason",
            "said::test_what_a_service_that_is_ours_no_more_loses_is_told_once",
        ),
        EVENT.same(
            "LoadBalancerFailed",
            "Warning",
            "said::test_each_change_is_told_under_metallbs_reason",
        ),
        EVENT.better(
            "AdditionalAssignFailed",
            "Normal; once, not on every pass",
            "said::test_each_change_is_told_under_metallbs_reason",
            "said::test_a_refusal_that_the_condition_shows_already_is_not_said_again",
        ),
        EVENT.same(
            "deprecatedAnnotation",
            "Warning; when the use is new, not at a restart",
            "handing::test_a_deprecated_annotation_that_is_added_later_is_named_and_not_again_after"
            "_a_restart",
        ),
        EVENT.better(
            "nodeAssigned",
            "Normal; begins with the same words; once for each owner, not on every pass",
            "speaker::test_one_node_answers_for_both_families_and_says_so",
            "lab_announcing::test_status_events_and_explain_name_the_announcing_node",
        ),
        EVENT.better(
            "announceFailed",
            "Warning; for every cause for which nobody announces, once for each, with its cure; not "
            "for a hand-over",
            "announced::test_a_pool_without_an_advertisement_is_named_with_its_cure_and_the_cure_"
            "cures",
            "announced::test_endpoints_that_go_are_the_reason_and_each_reason_is_one_event",
        ),
        BEHAVIOUR.better(
            "the Service says whether it is announced",
            "condition `lbctl.io/Announced` from what speakers report; there: to be found out",
            "announced::test_it_is_true_once_a_speaker_says_so_and_not_before",
            "announced::test_the_word_of_a_dead_node_does_not_last",
            "lab_announced::test_kubectl_can_wait_until_a_service_is_announced",
        ),
        EVENT.refused(
            "not enough clusterips",
            "a missing family is AllocationFailed or AdditionalAssignFailed, with the pools tried",
            "requests::test_one_family_only",
        ),
        EVENT.refused(
            "nolbIPsIPFamily, noclusterIPsIPFamily",
            "no such state: families come from ipFamilies, else from the cluster IPs",
            "service::test_families_follow_from_cluster_ips_where_the_spec_is_silent",
        ),
        EVENT.not_applicable("InternalError", "tells of faults in MetalLB itself"),
        BEHAVIOUR.better(
            "Events that persist or flap",
            "counted up, limited by object, over restarts too",
            "events::test_a_restarted_process_goes_on_counting_the_same_event",
            "events::test_an_object_that_flaps_is_limited_and_the_others_are_not",
        ),
    ),
)

SECTIONS = (OWNERSHIP, CHOICE, REQUESTS, FAMILIES, SHARING, POOL_EDITS, EVENTS)
