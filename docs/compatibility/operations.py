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
        FLAG.later(
            "--tls-min-version, --tls-cipher-suites, --tls-curve-preferences, --metrics-cert-dir",
            "metrics are plain HTTP; the webhook's TLS cannot be set",
        ),
        FLAG.not_applicable("--pprof-bind-address", "a tool of Go"),
        FLAG.not_applicable(
            "--ml-secret-name, --deployment, --ml-bindaddr, --ml-bindport, --ml-labels, "
            "--ml-secret-key-path, --ml-wan-config",
            "there is no gossip",
        ),
        FLAG.later("--ignore-exclude-lb", "the exclude label always counts"),
        FLAG.not_applicable("--host", "deprecated and unused there"),
        BEHAVIOUR.same(
            "environment variables",
            "every flag has one, LBCTL_ instead of METALLB_",
            "speaker_main::test_flags_may_be_environment_variables",
        ),
    ),
)

METRICS = Section(
    title="Metrics",
    text="None has MetalLB's name yet: dashboards and alerts on `metallb_` names see nothing.",
    rows=(
        METRIC.later(
            "metallb_allocator_addresses_total, metallb_allocator_addresses_in_use_total",
            "ours is `lbctl_pool_addresses` by pool, family and state",
        ),
        METRIC.later(
            "metallb_allocator_ipv4_addresses_total, metallb_allocator_ipv4_addresses_in_use_total",
            "ours is `lbctl_pool_addresses`",
        ),
        METRIC.later(
            "metallb_allocator_ipv6_addresses_total, metallb_allocator_ipv6_addresses_in_use_total",
            "ours is `lbctl_pool_addresses`",
        ),
        METRIC.not_applicable(
            "metallb_allocator_services_allocated_total",
            "declared and never set there; ours is `lbctl_services` by reason",
        ),
        METRIC.later(
            "metallb_k8s_client_updates_total, metallb_k8s_client_update_errors_total",
            "ours are `lbctl_reflector_events_total` and `lbctl_writes_total` by outcome",
        ),
        METRIC.later(
            "metallb_k8s_client_config_loaded_bool",
            "ours is `lbctl_reflector_synced` by kind",
        ),
        METRIC.later(
            "metallb_k8s_client_config_stale_bool",
            "ours is `lbctl_config_accepted` by object; it cannot get stuck",
        ),
        METRIC.later(
            "metallb_speaker_announced",
            "ours is `lbctl_speaker_announced` with the same labels",
        ),
        METRIC.later(
            "metallb_layer2_requests_received, metallb_layer2_responses_sent, "
            "metallb_layer2_gratuitous_sent",
            "ours is `lbctl_fastpath_total` by counter and link, not by address",
        ),
        METRIC.not_applicable(
            "controller_runtime_, workqueue_, rest_client_, go_", "libraries of Go"
        ),
        BEHAVIOUR.later(
            "metrics over HTTPS with TokenReview",
            "plain HTTP without login; whoever reaches the port may read",
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
            "no Secrets",
            "rights::test_a_speaker_reads_no_secret",
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
        BEHAVIOUR.later(
            "values for pods",
            "no podAnnotations, labels, runtimeClassName, extraContainers, nor a switch for RBAC",
        ),
        BEHAVIOUR.later("NetworkPolicies", "none in the chart"),
        BEHAVIOUR.later("PodMonitor, ServiceMonitor, PrometheusRule", "none in the chart"),
        BEHAVIOUR.later("plain manifests", "Helm only"),
        BEHAVIOUR.later("published images", "one image, built by yourself, for one architecture"),
        BEHAVIOUR.refused("conversion of the ConfigMap from before 0.13", "objects only"),
    ),
)

SECTIONS = (FLAGS, METRICS, PACKAGING)
