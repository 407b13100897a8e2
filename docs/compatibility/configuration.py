"""Rows about what an operator writes: fields of the kinds, annotations, rules at the door."""

from __future__ import annotations

from docs.compatibility.table import ANNOTATION, BEHAVIOUR, FIELD, WEBHOOK, Section

POOL = Section(
    title="IPAddressPool",
    rows=(
        FIELD.same(
            "IPAddressPool spec.addresses",
            "CIDRs and `first-last`; host bits are masked; a bare address, two families in one "
            "entry and an empty list are refused. At most 1,000 entries",
            "pool_status::test_host_bits_of_a_cidr_are_masked_away",
            "crds::test_a_wrong_range_is_refused_with_a_cure",
            "crds::test_a_pool_without_addresses_is_refused",
        ),
        FIELD.same(
            "IPAddressPool spec.autoAssign",
            "default true; false: only on request",
            "corners::test_a_pool_that_is_not_given_unasked_is_given_when_asked_for",
            "crds::test_a_minimal_pool_gets_metallbs_defaults",
        ),
        FIELD.same(
            "IPAddressPool spec.avoidBuggyIPs",
            ".0 and .255 neither count nor belong to the pool",
            "pools::test_buggy_addresses_are_not_owned_by_a_pool_that_avoids_them",
            "free::test_buggy_addresses_neither_count_nor_are_given",
        ),
        FIELD.better(
            "IPAddressPool spec.serviceAllocation.priority",
            "lower first, 0 last; equal ranks by name instead of by chance",
            "pools::test_pinned_pools_come_first_by_priority_and_zero_last_then_the_others_by_name",
        ),
        FIELD.same(
            "IPAddressPool spec.serviceAllocation.namespaces",
            "united with namespaceSelectors; a name twice is refused",
            "allocation::test_service_allocation_holds_on_every_way_to_an_address",
            "crds::test_every_problem_is_reported_at_once",
        ),
        FIELD.better(
            "IPAddressPool spec.serviceAllocation.namespaceSelectors",
            "selectors that match no namespace serve nobody, not everybody",
            "allocation::test_service_allocation_holds_on_every_way_to_an_address",
            "allocation::test_a_namespace_that_loses_its_label_loses_the_pool",
        ),
        FIELD.same(
            "IPAddressPool spec.serviceAllocation.serviceSelectors",
            "one must match, besides the namespaces",
            "allocation::test_service_allocation_holds_on_every_way_to_an_address",
        ),
        FIELD.same(
            "IPAddressPool status.assignedIPv4",
            "a shared address counts once; an edit by hand is put right",
            "requests::test_sharers_gather_on_one_address_until_ports_collide",
            "pool_status::test_counters_that_are_missing_or_edited_are_put_right",
        ),
        FIELD.same(
            "IPAddressPool status.assignedIPv6",
            "as IPv4",
            "allocation::test_counters_cover_every_pool_in_effect_and_saturate",
        ),
        FIELD.same(
            "IPAddressPool status.availableIPv4",
            "capacity less assigned",
            "allocation::test_counters_cover_every_pool_in_effect_and_saturate",
        ),
        FIELD.better(
            "IPAddressPool status.availableIPv6",
            "saturates at 2^63 - 1 for each family and is never negative",
            "allocation::test_counters_cover_every_pool_in_effect_and_saturate",
            "lab_crds::test_a_pool_shows_counters_up_to_63_bits_and_drops_them",
        ),
        FIELD.better(
            "IPAddressPool status.conditions",
            "ours: `Accepted` with reason and cure on the pool itself",
            "end::test_an_invalid_pool_is_reported_on_itself_and_the_others_go_on",
        ),
        BEHAVIOUR.better(
            "overlapping pools",
            "the whole configuration is refused there; here the older pool works and the younger "
            "is reported. An edit that overlaps moves nobody",
            "pools::test_of_two_new_pools_that_overlap_the_older_works",
            "allocation::test_an_edit_that_overlaps_moves_nobody",
        ),
        BEHAVIOUR.same(
            "overlap within one pool",
            "refused, with both entries named",
            "crds::test_a_pool_must_hold_every_address_once",
        ),
        BEHAVIOUR.better(
            "one bad object",
            "disables itself, not the whole configuration",
            "pools::test_a_bad_pool_disables_itself_only_and_names_every_problem",
            "end::test_an_invalid_pool_is_reported_on_itself_and_the_others_go_on",
        ),
        BEHAVIOUR.better(
            "printer columns of IPAddressPool",
            "theirs, and free addresses and Accepted; Avoid Buggy IPs with `-o wide`",
            "generated::test_a_generated_file_is_what_its_table_says",
        ),
    ),
)

ADVERTISEMENT = Section(
    title="L2Advertisement",
    rows=(
        FIELD.same(
            "L2Advertisement spec.ipAddressPools",
            "by name; unknown names are ignored; empty with no selectors: every pool",
            "corners::test_a_pool_is_covered_by_name_or_label_and_by_an_advertisement_of_all",
        ),
        FIELD.same(
            "L2Advertisement spec.ipAddressPoolSelectors",
            "one is enough; united with the names; one that matches nothing covers no pool",
            "corners::test_a_pool_is_covered_by_name_or_label_and_by_an_advertisement_of_all",
        ),
        FIELD.same(
            "L2Advertisement spec.nodeSelectors",
            "one is enough; empty: every node",
            "corners::test_one_of_several_node_selectors_is_enough",
        ),
        FIELD.same(
            "L2Advertisement spec.serviceSelectors",
            "one is enough; empty: every Service",
            "corners::test_one_of_several_service_selectors_is_enough",
        ),
        FIELD.better(
            "L2Advertisement spec.interfaces",
            "same union; and a node without a usable one is not elected",
            "eligibility::test_interfaces_of_several_advertisements_are_united_and_none_means_all",
            "lab_announcing::test_an_advertisement_of_a_missing_interface_makes_nodes_ineligible",
        ),
        FIELD.same(
            "L2Advertisement spec.preferredNodeSelectors.weight",
            "1 to 100, summed over all advertisements that match; only on selected nodes",
            "adverts::test_weights_of_all_covering_advertisements_are_summed",
            "corners::test_a_preference_on_a_node_that_is_not_selected_has_no_weight",
            "crds::test_a_wrong_advertisement_is_refused_by_field",
        ),
        FIELD.same(
            "L2Advertisement spec.preferredNodeSelectors.preference",
            "a label selector, required",
            "crds::test_a_wrong_advertisement_is_refused_by_field",
            "adverts::test_weights_of_all_covering_advertisements_are_summed",
        ),
        FIELD.better(
            "L2Advertisement status.conditions",
            "ours: `Accepted`; MetalLB leaves the status empty",
            "end::test_a_bad_advertisement_is_reported_and_a_good_one_accepted",
        ),
        BEHAVIOUR.same(
            "equal selectors in one list, equal values in one expression",
            "refused",
            "crds::test_a_wrong_advertisement_is_refused_by_field",
            "lab_crds::test_a_match_expression_is_judged_alike_by_server_and_parser",
        ),
        BEHAVIOUR.better(
            "serviceSelectors and a shared address",
            "refused there; here sharers have one owner that all their advertisements allow, and "
            "where there is none the oldest Service decides",
            "corners::test_sharers_under_different_advertisements_have_one_owner_that_both_allow",
        ),
        BEHAVIOUR.better(
            "names of pools that do not exist",
            "ignored as there, but not in silence: a warning when it is applied, and the "
            "condition Accepted says it until the pool is there, and an Event once",
            "webhook::test_an_advertisement_may_come_before_its_pool_and_says_so",
            "accepted::test_an_advertisement_of_a_missing_pool_is_accepted_and_names_it_once",
        ),
    ),
)

STATUS_KINDS = Section(
    title="ServiceL2Status and ConfigurationState",
    rows=(
        FIELD.better(
            "ServiceL2Status status.node",
            "changes with the owner in our group (immutable there, a new object for each owner); "
            "in MetalLB's group the object is replaced",
            "lab_crds::test_a_service_l2_status_follows_its_owner_and_keeps_its_service",
            "states::test_in_metallbs_group_an_object_of_another_node_is_replaced",
        ),
        FIELD.same(
            "ServiceL2Status status.serviceName",
            "immutable",
            "lab_crds::test_a_service_l2_status_follows_its_owner_and_keeps_its_service",
        ),
        FIELD.same(
            "ServiceL2Status status.serviceNamespace",
            "immutable",
            "lab_crds::test_a_service_l2_status_follows_its_owner_and_keeps_its_service",
        ),
        FIELD.better(
            "ServiceL2Status status.interfaces.name",
            "always the interfaces in use, never an empty list for all",
            "statement::test_an_owner_states_service_address_links_and_epoch",
        ),
        FIELD.better(
            "ServiceL2Status status.addresses",
            "ours: which addresses; only in our group",
            "statement::test_an_owner_states_service_address_links_and_epoch",
        ),
        FIELD.better(
            "ServiceL2Status status.epoch.generation",
            "ours: orders two words about one address; only in our group",
            "crds::test_a_rendered_service_l2_status_reads_back",
            "statement::test_an_owner_states_service_address_links_and_epoch",
        ),
        FIELD.better(
            "ServiceL2Status status.epoch.number",
            "as generation",
            "crds::test_a_rendered_service_l2_status_reads_back",
            "statement::test_an_owner_states_service_address_links_and_epoch",
        ),
        BEHAVIOUR.better(
            "one ServiceL2Status for each Service",
            "one for each family, with a fixed name and one writer, so two speakers never fight",
            "states::test_an_announcement_is_told_once_per_service_and_family",
            "statement::test_the_old_owner_leaves_its_object_to_the_successor",
        ),
        BEHAVIOUR.refused(
            "label `metallb.io/node` on ServiceL2Status",
            "labels cannot follow the owner in a status write; `--field-selector "
            "status.node=NODE` finds them in our group. The two labels of the Service are there",
            "states::test_an_announcement_is_told_once_per_service_and_family",
        ),
        BEHAVIOUR.better(
            "ServiceL2Status of a speaker that is gone",
            "removed by exactly one other speaker instead of by an ownerReference",
            "statement::test_the_object_of_a_node_without_speaker_is_removed_by_exactly_one_other",
        ),
        FIELD.same(
            "ConfigurationState status.result",
            "Valid or Invalid; the controller's object",
            "states::test_the_controllers_state_names_every_problem_and_is_written_once",
        ),
        FIELD.same(
            "ConfigurationState status.errorSummary",
            "one line for each problem, in our words",
            "states::test_the_controllers_state_names_every_problem_and_is_written_once",
        ),
        FIELD.better(
            "ConfigurationState status.conditions",
            "poolReconcilerValid with MetalLB's reasons; the transition time changes with the "
            "status only",
            "states::test_the_controllers_state_names_every_problem_and_is_written_once",
        ),
        BEHAVIOUR.same(
            "ConfigurationState deleted or edited by hand",
            "comes back",
            "end::test_a_summary_that_somebody_deletes_or_changes_is_back_at_once",
        ),
        BEHAVIOUR.refused(
            "ConfigurationState `speaker-NODE`, condition configReconcilerValid",
            "every speaker judges objects as the controller does, so its one object speaks for all; "
            "what a node can announce is in SpeakerStatus, its sessions in BGPSessionStatus",
        ),
        BEHAVIOUR.refused(
            "ownerReference of ConfigurationState",
            "the owner would be one Pod, of which each replica and each update has another; so it "
            "stays when the controller is uninstalled, and goes with its CRD",
        ),
    ),
)

ANNOTATIONS = Section(
    title="Annotations",
    text="Each is read as `lbctl.io/`, then `metallb.io/`, then `metallb.universe.tf/`.",
    rows=(
        ANNOTATION.same(
            "metallb.io/loadBalancerIPs",
            "one address, or one of each family, blanks trimmed",
            "service::test_addresses_are_requested_by_annotation_or_spec",
            "service::test_every_request_is_understood_in_all_three_spellings",
        ),
        ANNOTATION.same(
            "metallb.io/address-pool",
            "ignores autoAssign, not serviceAllocation",
            "service::test_every_request_is_understood_in_all_three_spellings",
            "corners::test_a_pool_that_is_not_given_unasked_is_given_when_asked_for",
            "requests::test_what_cannot_be_given_is_refused_by_name",
        ),
        ANNOTATION.same(
            "metallb.io/allow-shared-ip",
            "empty: no sharing",
            "service::test_every_request_is_understood_in_all_three_spellings",
            "sharing::test_a_newcomer_joins_only_by_every_rule",
        ),
        ANNOTATION.refused(
            "metallb.io/ip-allocated-from-pool",
            "read and honoured, but we write `lbctl.io/ip-allocated-from-pool` only, so that one "
            "sees who allocated; theirs goes where it contradicts. Two pools: both names",
            "patches::test_metallbs_mark_stays_where_it_agrees_and_goes_where_it_does_not",
            "patches::test_two_pools_make_a_mark_of_both_and_one_pool_a_mark_of_one",
            ours="lbctl.io/ip-allocated-from-pool",
        ),
        ANNOTATION.same(
            "metallb.universe.tf/loadBalancerIPs",
            "deprecated; warned about",
            "service::test_every_request_is_understood_in_all_three_spellings",
        ),
        ANNOTATION.same(
            "metallb.universe.tf/address-pool",
            "deprecated; warned about",
            "service::test_the_first_spelling_that_is_present_counts",
        ),
        ANNOTATION.same(
            "metallb.universe.tf/allow-shared-ip",
            "deprecated; warned about",
            "service::test_every_request_is_understood_in_all_three_spellings",
        ),
        ANNOTATION.same(
            "metallb.universe.tf/ip-allocated-from-pool",
            "never read",
            "service::test_the_oldest_spelling_is_no_mark",
        ),
        ANNOTATION.better(
            "lbctl.io/drain",
            "ours, on a Node: it gives its addresses away without being cordoned",
            "eligibility::test_the_drain_annotation_refuses_like_a_speaker_that_stops",
            "lab_announcing::test_drain_moves_the_address",
        ),
        BEHAVIOUR.same(
            "a key that is present counts, even if empty",
            "for each prefix in its order",
            "service::test_the_first_spelling_that_is_present_counts",
        ),
    ),
)

WEBHOOKS = Section(
    title="Rules at the door",
    rows=(
        WEBHOOK.same(
            "overlapping IPAddressPool",
            "refused on create and update, with the condition's words",
            "webhook::test_an_overlapping_pool_is_refused_with_the_text_of_the_condition",
            "lab_allocation::"
            "test_overlapping_pools_are_refused_at_the_door_with_the_words_of_the_condition",
        ),
        WEBHOOK.better(
            "malformed IPAddressPool",
            "refused by the schema (CEL), also with the webhook down",
            "lab_crds::test_a_bad_range_is_refused_by_server_and_parser_with_its_field",
            "lab_crds::test_every_bound_of_every_field_refuses_on_the_server",
        ),
        WEBHOOK.better(
            "malformed L2Advertisement",
            "refused by the schema (CEL), also with the webhook down",
            "lab_crds::test_an_advertisement_is_judged_alike_by_server_and_parser",
            "lab_crds::test_every_bound_of_every_field_refuses_on_the_server",
        ),
        WEBHOOK.same(
            "a range that ends before it begins, an overlap within one pool",
            "beyond CEL: refused by the webhook, in the words of the condition",
            "webhook::test_what_the_condition_would_refuse_is_refused_at_the_door_in_its_words",
            "admission::test_bad_input_is_refused_in_one_message_with_object_field_and_cure",
        ),
        WEBHOOK.same(
            "malformed objects in group metallb.io",
            "refused by the webhook, since MetalLB's schema is laxer than ours; what is there "
            "already is in ConfigurationState and in an Event",
            "webhook::test_objects_of_metallbs_group_are_judged_by_our_rules",
            "dropin::test_the_door_judges_metallbs_kinds_by_our_rules",
            "dropin::test_an_object_of_before_that_is_wrong_is_in_the_configuration_state",
            "admission::test_the_door_and_the_condition_say_the_same",
            "accepted::test_in_metallbs_group_a_refusal_is_told_by_an_event_once",
        ),
        WEBHOOK.same(
            "objects in another namespace",
            "creating them is refused, unless the chart's `webhook.otherNamespaces` names the "
            "namespace; an update is warned about, and `lbctl doctor` lists those that are there",
            "webhook::"
            "test_an_object_in_another_namespace_is_not_created_and_an_old_one_is_warned_about",
            "lab_crds::test_an_object_in_another_namespace_is_refused_unless_its_named",
            "doctor::test_objects_that_nobody_reads_are_named",
        ),
        WEBHOOK.same(
            "deleting a pool in use",
            "allowed; its Services move or are cleared with a reason",
            "allocation::test_a_deleted_pool_clears_with_a_reason_or_moves",
        ),
        WEBHOOK.better(
            "failurePolicy",
            "Ignore instead of Fail by default: everything is also right without the webhook",
            "webhook::test_kopf_killed_again_and_again_disturbs_no_allocation_and_admission_returns",
            "end::test_overlapping_pools_the_older_works_and_the_younger_says_why",
        ),
        WEBHOOK.better(
            "certificate rotation",
            "old and new are both trusted meanwhile, no question goes unanswered, and a Secret "
            "that is damaged or deleted is made anew",
            "trust::test_a_pair_near_its_end_is_replaced_and_both_are_trusted_meanwhile",
            "trust::test_a_damaged_secret_and_an_emptied_bundle_are_repaired",
            "trust::test_after_a_deleted_secret_the_old_pair_is_trusted_until_the_new_one_is_everywhere",
            "operator::test_a_new_certificate_is_served_without_leaving_a_question_unanswered",
            "certificates::test_after_a_renewal_clients_trust_the_old_and_the_new_certificate",
        ),
        WEBHOOK.refused(
            "MetalLB's message texts",
            "our messages name object, field and cure; tests that compare MetalLB's texts fail",
        ),
    ),
)

SECTIONS = (POOL, ADVERTISEMENT, STATUS_KINDS, ANNOTATIONS, WEBHOOKS)
