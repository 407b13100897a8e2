"""The stand-in images: what they hold, and that the policy is well formed."""

import re
import tarfile
from pathlib import Path

import yaml

from lbctl.lab.images import registry, standins

ECHO_SOURCE = Path(__file__).parents[3] / "deploy" / "lab" / "echo"


def test_the_image_links_every_command_the_echo_binary_knows_and_no_other():
    source = (ECHO_SOURCE / "commands.go").read_text()
    table = source[source.index("commands = map[string]command{") :]
    known = set(re.findall(r'^\t\t"(\w+)":', table[: table.index("\n\t}\n")], re.MULTILINE))
    assert set(standins.COMMANDS) == known | {"busybox"}


def test_both_archives_are_written_and_hold_the_binary(tmp_path):
    binary = tmp_path / "echo"
    binary.write_bytes(b"\x7fELF of the test")
    made = standins.pack(binary, tmp_path / "images")
    for archive, name in ((made.echo, standins.SERVER), (made.pause, "pause")):
        content = registry.read_archive(archive)
        layer = max(content.blobs.values(), key=len)
        path = tmp_path / "layer.tar"
        path.write_bytes(layer)
        with tarfile.open(path) as opened:
            assert opened.getmember(name).size == len(binary.read_bytes())
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == [
        "echo.tar",
        "pause.tar",
    ]


def test_the_policy_is_bound_and_of_a_version_that_needs_no_gate():
    policy, binding = yaml.safe_load_all(standins.admission_policy())
    assert policy["kind"] == "MutatingAdmissionPolicy"
    assert policy["apiVersion"] == binding["apiVersion"] == "admissionregistration.k8s.io/v1"
    assert binding["spec"]["policyName"] == policy["metadata"]["name"]
