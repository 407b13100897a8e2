"""A node's machine: containerd, kubelet, kube-proxy, with the configuration each gets.

Close to what kubeadm writes, dual stack throughout. Where it departs, for a reason:

* The kubelet renews its Lease and its status often enough for the lab's `node_grace_s`.
* Images come from archives that are imported when the disk is new; any other image is asked of
  the registry on the LAN's gateway (`_default` mirror), except with `--images pull`.
* No OOM scores below zero (`restrict_oom_score_adj`): a lab often runs where nothing may set them.
* kube-proxy leaves the size of the connection tracking table alone: it is the host's.

Pure: returns values for `lbctl.lab.machines.plan`.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from lbctl.lab import spec as at
from lbctl.lab.images.standins import PAUSE_IMAGE
from lbctl.lab.machines.plan import Program
from lbctl.lab.spec import ImageMode, LabSpec

CONTAINERD = "/run/containerd/containerd.sock"
DISKS = ("kubelet", "containerd", "cni")
_ETC = "/run/lbctl"


def programs(
    spec: LabSpec, node: str, *, pki: Path, archives: tuple[Path, ...], held: bool
) -> tuple[Program, ...]:
    """Return what runs on a node.

    `archives` are imported before the kubelet starts; `held` keeps kubelet and kube-proxy back
    until the API server knows the node.
    """
    imports = tuple(
        Program(
            name=f"import-{archive.stem}",
            argv=("ctr", "-a", CONTAINERD, "-n", "k8s.io", "images", "import", "--local",
                  str(archive)),
            after=(f"unix:{CONTAINERD}",),
            once=True,
        )
        for archive in archives
    )  # fmt: skip
    return (
        Program(
            name="containerd",
            argv=(*_way_out(spec), "containerd", "--config", f"{_ETC}/containerd.toml"),
        ),
        *imports,
        Program(
            name="kubelet",
            argv=(
                "kubelet",
                f"--config={_ETC}/kubelet.json",
                f"--kubeconfig={pki}/{node}.kubeconfig",
                f"--hostname-override={node}",
                f"--node-ip={at.ipv4(node).ip},{at.ipv6(node).ip}",
            ),
            after=(f"unix:{CONTAINERD}", *(f"done:{program.name}" for program in imports)),
            held=held,
        ),
        Program(
            name="kube-proxy",
            argv=("controlplane", "kube-proxy", f"--config={_ETC}/kube-proxy.json"),
            held=held,
        ),
    )


def _way_out(spec: LabSpec) -> tuple[str, ...]:
    """Return the words before containerd's command by which it reaches real registries, if any."""
    if spec.images is ImageMode.ECHO:
        return ()
    proxy = f"http://{at.ipv4(at.LAN).ip}:{at.EGRESS_PORT}"
    return ("env", f"HTTPS_PROXY={proxy}", f"HTTP_PROXY={proxy}")


def files(
    spec: LabSpec, node: str, *, pki: Path, runc: Path, cni_bin: Path, snapshotter: str
) -> Mapping[str, str]:
    """Return the configuration files of a node, by their path under /run/lbctl."""
    made = {
        "containerd.toml": _containerd(runc, cni_bin, snapshotter),
        "cni/10-lab.conflist": json.dumps(_cni(node), indent=1),
        "kubelet.json": json.dumps(_kubelet(spec, pki), indent=1),
        "kube-proxy.json": json.dumps(_kube_proxy(node, pki), indent=1),
    }
    if spec.images is ImageMode.ECHO:
        registry = f"http://{at.ipv4(at.LAN).ip}:{at.REGISTRY_PORT}"
        made["certs.d/_default/hosts.toml"] = (
            f'server = "{registry}"\n[host."{registry}"]\n  capabilities = ["pull", "resolve"]\n'
        )
    return made


def _containerd(runc: Path, cni_bin: Path, snapshotter: str) -> str:
    images, runtime = (
        "plugins.'io.containerd.cri.v1.images'",
        "plugins.'io.containerd.cri.v1.runtime'",
    )
    unused = ("nri.v1.nri", "snapshotter.v1.blockfile", "snapshotter.v1.erofs")
    disabled = json.dumps([f"io.containerd.{plugin}" for plugin in unused])
    return f"""\
version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = {disabled}
[grpc]
  address = "{CONTAINERD}"
[{images}]
  snapshotter = "{snapshotter}"
[{images}.pinned_images]
  sandbox = "{PAUSE_IMAGE}"
[{images}.registry]
  config_path = "{_ETC}/certs.d"
[{runtime}]
  restrict_oom_score_adj = true
[{runtime}.cni]
  bin_dirs = ["{cni_bin}"]
  conf_dir = "{_ETC}/cni"
[{runtime}.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
  [{runtime}.containerd.runtimes.runc.options]
    BinaryName = "{runc}"
    SystemdCgroup = false
"""


def _cni(node: str) -> dict[str, object]:
    ranges = [[{"subnet": str(at.pod_v4(node))}], [{"subnet": str(at.pod_v6(node))}]]
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": False,  # the LAN's router knows the way back to every pod
        "hairpinMode": True,  # a pod may reach itself through its own Service
        "ipam": {
            "type": "host-local",
            "dataDir": "/var/lib/cni/networks",
            "ranges": ranges,
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
        },
    }
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "1.0.0", "name": "lbctl-lab", "plugins": [bridge, ports]}


def _kubelet(spec: LabSpec, pki: Path) -> dict[str, object]:
    # Four Leases in a grace period, so that one lost renewal does not make a node NotReady. The
    # kubelet renews after a quarter of the Lease's duration.
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": f"unix://{CONTAINERD}",
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{pki}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "volumePluginDir": "/var/lib/kubelet/volumeplugins",
        "resolvConf": "/etc/resolv.conf",
        "nodeLeaseDurationSeconds": spec.node_grace_s,
        "nodeStatusUpdateFrequency": f"{max(1, spec.node_grace_s // 4)}s",
        # The disk is the host's, and how full the host is is none of the lab's business.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "imagefs.available": "1%",
            "nodefs.inodesFree": "1%",
        },
    }


def _kube_proxy(node: str, pki: Path) -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clusterCIDR": f"{at.POD_V4},{at.POD_V6}",
        "hostnameOverride": node,
        "clientConnection": {"kubeconfig": f"{pki}/kube-proxy.kubeconfig"},
        "healthzBindAddress": "[::]:10256",
        "metricsBindAddress": "[::]:10249",
        "conntrack": {"maxPerCore": 0, "min": 0},
        "nftables": {"syncPeriod": "30s", "minSyncPeriod": "100ms"},
    }
