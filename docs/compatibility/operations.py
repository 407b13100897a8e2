"""Rows about running it: flags, metrics, rights, packaging."""

from __future__ import annotations

from docs.compatibility.table import BEHAVIOUR, FLAG, METRIC, Section

FLAGS = Section(
    title="Flags",
    rows=(
        FLAG.same(
            "--namespace",
            "required; the chart sets it",
            "process::test_a_bad_start_ends_with_one_line_and_status_2",
        ),
        FLAG.same(
            "--lb-class",
            "under another name",
            "allocation::test_a_class_of_ours_is_served_and_no_class_is_not",
            ours="--load-balancer-class",
        ),
        FLAG.same(
            "--log-level",
            "debug, info, warning, error; not all or none",
            "speaker_main::test_a_bad_flag_is_one_line_and_status_two",
        ),
        FLAG.same(
            "--node-name",
            "required",
            "speaker_main::test_flags_may_be_environment_variables",
        ),
        FLAG.better(
            "--pod-name",
            "the speaker's SpeakerStatus belongs to the Pod; the start does not depend on reading "
            "it. The controller needs none",
            "conductor::test_the_report_belongs_to_the_pod_until_the_end",
        ),
        FLAG.same(
            "--health-probe-port",
            "/healthz and /readyz, one line for each problem; one port with the metrics",
            "process::test_it_serves_gives_the_lease_up_on_sigterm_and_imports_no_kubernetes",
            ours="--listen",
        ),
        FLAG.refused(
            "--port",
            "metrics and health are one endpoint, `--listen`, so 0 does not switch it off",
        ),
        FLAG.refused(
            "--webhook-mode",
            "disabled is `--webhook-port 0`; onlywebhook has no use, followers serve it anyway",
            "trust::test_a_follower_serves_the_leaders_pair_and_writes_nothing",
        ),
        FLAG.not_applicable(
            "--webhook-secret, --cert-service-name", "the names follow from `--installation`"
        ),
        FLAG.not_applicable("--cert-dir", "the Secret is read over the API, nothing is mounted"),
        FLAG.refused(
            "--disable-cert-rotation",
            "the certificate is always the controller's own, renewed a third of its life before "
            "its end: there is nothing that cert-manager would do better",
        ),
        FLAG.not_applicable("--webhook-http2", "the admission server speaks HTTP/1.1 only"),
        FLAG.refused(
            "--tls-min-version, --tls-cipher-suites, --tls-curve-preferences",
            "the webhook speaks TLS 1.3 alone, where nothing is left to choose",
            "operator::test_the_admission_server_speaks_tls_1_3_alone",
        ),
        FLAG.refused("--metrics-cert-dir", "metrics are plain HTTP, see below"),
        FLAG.not_applicable("--pprof-bind-address", "a tool of Go"),
        FLAG.not_applicable(
            "--ml-secret-name, --deployment, --ml-bindaddr, --ml-bindport, --ml-labels, "
            "--ml-secret-key-path, --ml-wan-config",
            "there is no gossip",
        ),
        FLAG.better(
            "--ignore-exclude-lb",
            "of lb-speaker; its SpeakerStatus says so, so that all speakers and `lbctl explain` "
            "judge its node alike",
            "eligibility::test_a_speaker_that_ignores_the_exclude_label_says_so_and_its_node_announces",
            "conductor::test_the_report_says_that_the_exclude_label_is_ignored",
        ),
        FLAG.not_applicable("--host", "deprecated and unused there"),
        FLAG.not_applicable(
            "--bgp-debounce-timeout",
            "no daemon is configured anew: a change is on the wire within milliseconds",
        ),
        FLAG.not_applicable(
            "--frrk8s-namespace, --frrk8s-secret-passthrough",
            "sessions run in lb-speaker, which reads the Secrets itself",
        ),
        BEHAVIOUR.not_applicable(
            "`METALLB_BGP_TYPE`, ConfigMap `bgpextras`",
            "there is one BGP, in lb-speaker, and no FRR whose configuration could have extras",
        ),
        BEHAVIOUR.same(
            "environment variables",
            "every flag has one, LBCTL_ instead of METALLB_",
            "speaker_main::test_flags_may_be_environment_variables",
        ),
    ),
)

METRICS = Section(
    title="Metrics",
    text="Same names, labels and meanings: queries and alerts on these go on working.",
    rows=(
        METRIC.same(
            "metallb_allocator_addresses_total, metallb_allocator_addresses_in_use_total",
            "by pool; shown by the leader only; gone with the pool",
            "faults::test_metrics_show_pools_and_services",
            "process::test_it_serves_gives_the_lease_up_on_sigterm_and_imports_no_kubernetes",
        ),
        METRIC.same(
            "metallb_allocator_ipv4_addresses_total, metallb_allocator_ipv4_addresses_in_use_total",
            "by pool",
            "faults::test_metrics_show_pools_and_services",
        ),
        METRIC.same(
            "metallb_allocator_ipv6_addresses_total, metallb_allocator_ipv6_addresses_in_use_total",
            "by pool; saturates at 2^63 - 1",
            "gauges::test_the_totals_of_a_pool_saturate_for_each_family",
            "faults::test_metrics_show_pools_and_services",
        ),
        METRIC.not_applicable(
            "metallb_allocator_services_allocated_total",
            "declared and never set there; ours is `lbctl_services` by reason",
        ),
        METRIC.same(
            "metallb_k8s_client_updates_total, metallb_k8s_client_update_errors_total",
            "changes taken in; plans that failed and writes that were refused. By kind and "
            "outcome in `lbctl_reflector_events_total` and `lbctl_writes_total`",
            "process::test_it_serves_gives_the_lease_up_on_sigterm_and_imports_no_kubernetes",
            "speaker::test_metallbs_metrics_are_there_for_each_address",
        ),
        METRIC.same(
            "metallb_k8s_client_config_loaded_bool",
            "1 once every kind was read; by kind in `lbctl_reflector_synced`",
            "faults::test_metrics_show_pools_and_services",
        ),
        METRIC.better(
            "metallb_k8s_client_config_stale_bool",
            "1 while an object is wrong, and `lbctl_config_accepted` names it; the others are in "
            "effect, so nothing gets stuck",
            "faults::test_metrics_show_pools_and_services",
        ),
        METRIC.better(
            "metallb_speaker_announced",
            "always what is announced now; a series there may stay on the old node",
            "speaker::test_metallbs_metrics_are_there_for_each_address",
        ),
        METRIC.better(
            "metallb_layer2_requests_received, metallb_layer2_responses_sent, "
            "metallb_layer2_gratuitous_sent",
            "10 s old at most; a series ends when the address leaves the node, never there",
            "speaker::test_metallbs_metrics_are_there_for_each_address",
            "fast::test_counters_survive_a_hand_over_and_end_with_the_address",
        ),
        METRIC.same(
            "metallb_bgp_session_up, metallb_bgp_updates_total, "
            "metallb_bgp_announced_prefixes_total, metallb_bgp_pending_prefixes_total, "
            "metallb_bgp_opens_sent, metallb_bgp_opens_received, metallb_bgp_notifications_sent, "
            "metallb_bgp_updates_total_received, metallb_bgp_keepalives_sent, "
            "metallb_bgp_keepalives_received, metallb_bgp_total_sent, metallb_bgp_total_received",
            "by peer (`address:port`), on the port of lb-speaker; without `vrf`, and without the "
            "prefix `frrk8s_`",
            "bgp_product::test_the_page_of_metrics_counts_the_session",
        ),
        METRIC.not_applicable(
            "metallb_bgp_route_refresh_sent", "we need no routes and never ask for them again"
        ),
        METRIC.later(
            "metallb_bfd_session_up, metallb_bfd_control_packet_input, "
            "metallb_bfd_control_packet_output, metallb_bfd_echo_packet_input, "
            "metallb_bfd_echo_packet_output, metallb_bfd_session_up_events, "
            "metallb_bfd_session_down_events",
            "BFD is missing",
        ),
        METRIC.not_applicable("metallb_bfd_zebra_notifications", "there is no zebra"),
        METRIC.same(
            "process_cpu_seconds_total, process_resident_memory_bytes, "
            "process_start_time_seconds, process_open_fds",
            "of lb-controller and lb-speaker",
            "metrics::test_a_process_tells_what_it_costs",
        ),
        METRIC.not_applicable(
            "controller_runtime_, workqueue_, rest_client_, go_", "libraries of Go"
        ),
        BEHAVIOUR.refused(
            "metrics over HTTPS with TokenReview",
            "plain HTTP without login, which needs no right to review tokens and no certificate in "
            "lb-speaker; whoever reaches the port may read names and addresses of Services",
        ),
    ),
)

PACKAGING = Section(
    title="Rights and packaging",
    rows=(
        BEHAVIOUR.better(
            "rights of the controller",
            "besides reading, Services are only patched in their status",
            "rights::test_services_are_only_patched_in_their_status",
            "chart::test_rbac_denied_nothing",
        ),
        BEHAVIOUR.better(
            "rights of the speaker",
            "Secrets of its own namespace only, and it asks for those of BGP passwords alone",
            "rights::test_a_speaker_reads_secrets_of_its_own_namespace_and_writes_none",
        ),
        BEHAVIOUR.better(
            "privileges",
            "NET_RAW in the fast path only; the part that talks to the API has none",
            "chart::test_each_container_has_exactly_its_privileges",
            "chart::test_the_root_is_read_only",
        ),
        BEHAVIOUR.same(
            "existing objects of group metallb.io",
            "`--api-group metallb.io`; MetalLB's CRDs are left alone",
            "objects::test_own_kinds_stay_in_our_group_whatever_the_setting",
            "chart::test_metallbs_group_installs_no_crd_of_metallbs",
        ),
        BEHAVIOUR.same(
            "taking over a running MetalLB's cluster",
            "every Service keeps its address, watched from before the installation; the way there "
            "and back is docs/how-to/migrate-from-metallb.md",
            "dropin::test_lbctl_takes_over_and_not_one_address_changes",
            "dropin::test_new_services_are_served_from_the_same_pools_and_announced",
            "dropin::test_going_back_leaves_every_address_and_metallbs_mark",
        ),
        BEHAVIOUR.same(
            "one namespace holds the configuration",
            "Services, slices, Nodes and Namespaces are read cluster-wide",
            "objects::test_own_kinds_stay_in_our_group_whatever_the_setting",
        ),
        BEHAVIOUR.same(
            "heartbeats of Nodes",
            "cause no plan and no write",
            "objects::test_a_heartbeat_of_a_node_is_no_news",
            "objects::test_a_change_that_the_plan_does_not_read_is_no_news",
        ),
        BEHAVIOUR.better(
            "values of the chart",
            "all in the schema; a value that does not exist is refused",
            "chart::test_a_wrong_value_is_refused_by_the_schema",
        ),
        BEHAVIOUR.same(
            "values for pods",
            "podAnnotations, podLabels, affinity, priorityClassName, runtimeClassName, "
            "extraContainers, serviceAccount, rbac.create",
            "chart_values::test_values_for_pods_reach_both_workloads",
            "chart_values::test_rights_and_accounts_can_be_left_to_somebody_else",
        ),
        BEHAVIOUR.better(
            "NetworkPolicies",
            "of the controller, off by default; with ports for DNS and the API server, which "
            "MetalLB's lack",
            "chart_values::test_a_network_policy_names_exactly_the_ports_of_the_controller",
        ),
        BEHAVIOUR.better(
            "PodMonitor, ServiceMonitor, PrometheusRule",
            "off by default; MetalLB's alerts and ours for addresses that nobody announces, and "
            "every alert is on a metric that exists",
            "chart_values::test_monitors_select_the_pods_of_both_workloads",
            "chart_values::test_every_alert_is_on_a_metric_that_is_exposed",
        ),
        BEHAVIOUR.refused("plain manifests", "one source, the chart: `helm template` writes them"),
        BEHAVIOUR.later("published images", "one image, built by yourself, for one architecture"),
        BEHAVIOUR.refused("conversion of the ConfigMap from before 0.13", "objects only"),
    ),
)

SECTIONS = (FLAGS, METRICS, PACKAGING)
