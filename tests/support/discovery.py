"""The API double with discovery, which kopf reads before it serves anything."""

from __future__ import annotations

from aiohttp import web

from tests.support.fake_api import FakeApi

KINDS = (
    ("ipaddresspools", "IPAddressPool"),
    ("l2advertisements", "L2Advertisement"),
    ("bgpadvertisements", "BGPAdvertisement"),
    ("communities", "Community"),
    ("bfdprofiles", "BFDProfile"),
)
PEERS = (("bgppeers", "BGPPeer"),)
RESOURCES: dict[str, tuple[tuple[str, str], ...]] = {
    "v1": (("namespaces", "Namespace"), ("events", "Event")),
    "apiextensions.k8s.io/v1": (("customresourcedefinitions", "CustomResourceDefinition"),),
    "admissionregistration.k8s.io/v1": (
        ("validatingwebhookconfigurations", "ValidatingWebhookConfiguration"),
        ("mutatingwebhookconfigurations", "MutatingWebhookConfiguration"),
    ),
    "lbctl.io/v1beta1": KINDS + PEERS,
    "metallb.io/v1beta1": KINDS,
    "metallb.io/v1beta2": PEERS,
}


class DiscoverableApi(FakeApi):
    """A FakeApi that also answers /api, /apis and the lists of resources, unless `closed`."""

    closed = False
    turned_away = 0

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if self.closed:
            self.turned_away += 1
            return web.Response(status=503)
        parts = request.path.strip("/").split("/")
        if parts == ["api"]:
            return web.json_response({"versions": ["v1"]})
        if parts == ["apis"]:
            groups = [text.split("/") for text in RESOURCES if "/" in text]
            return web.json_response({"groups": [_group(*group) for group in groups]})
        version = "/".join(parts[1:])
        if version in RESOURCES:
            resources = [_resource(*resource) for resource in RESOURCES[version]]
            return web.json_response({"groupVersion": version, "resources": resources})
        return await super()._handle(request)


def _group(group: str, version: str) -> dict[str, object]:
    entry = {"groupVersion": f"{group}/{version}", "version": version}
    return {"name": group, "versions": [entry], "preferredVersion": entry}


def _resource(plural: str, kind: str) -> dict[str, object]:
    return {
        "name": plural,
        "singularName": kind.lower(),
        "kind": kind,
        "namespaced": plural == "events" or (plural, kind) in KINDS + PEERS,
        "verbs": ["get", "list", "watch", "create", "update", "patch", "delete"],
    }
