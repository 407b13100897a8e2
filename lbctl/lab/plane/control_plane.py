"""The control plane's machine: etcd, kube-apiserver, kube-controller-manager, kube-scheduler.

Only flags that a cluster of kubeadm would have too, with these exceptions, each for a reason:

* etcd does not wait for the disk: a lab may forget its past when the host loses power.
* The API server reaches webhooks by pod address (`--enable-aggregator-routing`), because no
  kube-proxy runs on this machine; it has the routes to the pods.
* Every refused request is in kube-apiserver.log: `"Forbidden"` with the URI, and RBAC's own line
  with user, verb and object. A test that looks for denials greps for these.
* A silent node is noticed after the lab's `node_grace_s`, looked for once a second.

Pure: returns values for `lbctl.lab.machines.plan`.
"""

import sys
from pathlib import Path

from lbctl.lab import spec as at
from lbctl.lab.machines.plan import Program
from lbctl.lab.spec import LabSpec

_ETCD = "127.0.0.1:2379"
_API = f"127.0.0.1:{at.API_PORT}"
_SERVICES = f"{at.SERVICE_V4},{at.SERVICE_V6}"
DISKS = ("etcd",)


def programs(spec: LabSpec, pki: Path) -> tuple[Program, ...]:
    """Return what runs on the control plane, in the order in which it can start."""
    return (
        Program(
            name="forwarder",
            argv=(sys.executable, "-m", "lbctl.lab.plane.forwarder", *_API.split(":")),
            gets_handle=True,
        ),
        Program(
            name="etcd",
            argv=(
                "controlplane", "etcd", "--data-dir=/var/lib/etcd/data", "--unsafe-no-fsync",
                "--log-level=warn",
                # A single member elects itself after one timeout: that is start-up time.
                "--heartbeat-interval=50", "--election-timeout=250",
            ),
        ),
        Program(name="kube-apiserver", argv=_api_server(pki), after=(f"tcp:{_ETCD}",)),
        Program(
            name="kube-controller-manager",
            argv=_controller_manager(spec, pki),
            after=(f"tcp:{_API}",),
        ),
        Program(
            name="kube-scheduler",
            argv=(
                "controlplane", "kube-scheduler",
                f"--kubeconfig={pki}/scheduler.kubeconfig", "--leader-elect=false",
            ),
            after=(f"tcp:{_API}",),
        ),
    )  # fmt: skip


def _api_server(pki: Path) -> tuple[str, ...]:
    return (
        "controlplane",
        "kube-apiserver",
        f"--etcd-servers=http://{_ETCD}",
        f"--advertise-address={at.ipv4(at.CONTROL_PLANE).ip}",
        f"--secure-port={at.API_PORT}",
        f"--tls-cert-file={pki}/apiserver.crt",
        f"--tls-private-key-file={pki}/apiserver.key",
        f"--client-ca-file={pki}/ca.crt",
        f"--kubelet-client-certificate={pki}/apiserver-kubelet.crt",
        f"--kubelet-client-key={pki}/apiserver-kubelet.key",
        "--kubelet-preferred-address-types=InternalIP",
        f"--service-account-key-file={pki}/sa.pub",
        f"--service-account-signing-key-file={pki}/sa.key",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-cluster-ip-range={_SERVICES}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged",
        "--enable-aggregator-routing",
        # Denials and nothing else: the filter's line and the authorizer's reason.
        "--vmodule=authorization=4,rbac=5",
    )


def _controller_manager(spec: LabSpec, pki: Path) -> tuple[str, ...]:
    return (
        "controlplane",
        "kube-controller-manager",
        f"--kubeconfig={pki}/controller-manager.kubeconfig",
        "--leader-elect=false",
        "--use-service-account-credentials",
        f"--service-account-private-key-file={pki}/sa.key",
        f"--root-ca-file={pki}/ca.crt",
        f"--cluster-signing-cert-file={pki}/ca.crt",
        f"--cluster-signing-key-file={pki}/ca.key",
        f"--service-cluster-ip-range={_SERVICES}",
        f"--cluster-cidr={at.POD_V4},{at.POD_V6}",
        f"--node-monitor-grace-period={spec.node_grace_s}s",
        "--node-monitor-period=1s",
    )
