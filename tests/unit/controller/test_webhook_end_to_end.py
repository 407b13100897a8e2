"""The webhook in the whole controller: same text as the condition, and its death harms nobody."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import ssl
from typing import Any

import aiohttp
import pytest

from lbctl.controller.operator import Operator
from lbctl.run.metrics import Exposition
from tests.support.controlling import (
    NAMESPACE,
    accepted,
    all_served,
    condition,
    controller,
    counters,
    put_pool,
    put_service,
    shown,
)
from tests.support.discovery import DiscoverableApi
from tests.support.faults import FaultKind
from tests.support.loop import eventually, run


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def webhook_configuration(api: DiscoverableApi) -> None:
    client = {
        "service": {"namespace": NAMESPACE, "name": "lbctl-webhook", "path": "/ipaddresspools"}
    }
    api.put(
        "validatingwebhookconfigurations",
        {
            "metadata": {"name": f"{NAMESPACE}-lbctl"},
            "webhooks": [{"name": "ipaddresspools.lbctl.io", "clientConfig": client}],
        },
    )


def bundle(api: DiscoverableApi) -> str:
    body = api.get("validatingwebhookconfigurations", f"{NAMESPACE}-lbctl")
    assert body is not None
    return str(body["webhooks"][0]["clientConfig"].get("caBundle", ""))


async def ask(
    api: DiscoverableApi,
    port: int,
    body: dict[str, Any],
    old: dict[str, Any] | None = None,
    *,
    plural: str = "ipaddresspools",
) -> dict[str, Any]:
    """Ask until answered, with the trust and the path that the API server would use."""
    group, version = body["apiVersion"].split("/")
    review = {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "1",
            "resource": {"group": group, "version": version, "resource": plural},
            "operation": "CREATE" if old is None else "UPDATE",
            "userInfo": {},
            "object": body,
            "oldObject": old,
        },
    }
    await eventually(lambda: bundle(api), "a caBundle")
    context = ssl.create_default_context(cadata=base64.b64decode(bundle(api)).decode())
    async with aiohttp.ClientSession() as client, asyncio.timeout(20):
        while True:
            try:
                async with client.post(
                    f"https://127.0.0.1:{port}/{plural}",
                    data=json.dumps(review), ssl=context,
                    server_hostname=f"lbctl-webhook.{NAMESPACE}.svc",
                ) as answer:  # fmt: skip
                    if answer.status == 200:
                        return dict((await answer.json())["response"])
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.02)


def pool(name: str, *addresses: str) -> dict[str, Any]:
    return {
        "apiVersion": "lbctl.io/v1beta1",
        "kind": "IPAddressPool",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"addresses": list(addresses)},
    }


def test_an_overlapping_pool_is_refused_with_the_text_of_the_condition():
    async def case() -> None:
        async with DiscoverableApi() as api:
            webhook_configuration(api)
            put_pool(api, "old", "192.0.2.0/24", "2001:db8::/64")
            port = free_port()
            async with controller(api, "--webhook-port", str(port)):
                await eventually(lambda: accepted(api, "old") == "Accepted", "the old pool")
                young = pool("young", "198.51.100.0/24", "192.0.2.128/25")
                refused = await ask(api, port, young)
                assert refused["allowed"] is False
                put_pool(api, "young", "198.51.100.0/24", "192.0.2.128/25", created=9)
                await eventually(lambda: accepted(api, "young") == "Overlaps", "the condition")
                shown_text = condition(api, "ipaddresspools", "young", "Accepted")["message"]
                name = f"IPAddressPool {NAMESPACE}/young"
                assert refused["status"]["message"] == f"{name}: {shown_text}"
                assert "192.0.2.128-192.0.2.255" in shown_text

                fine = await ask(api, port, pool("fine", "203.0.113.0/24"))
                assert fine["allowed"] is True
                grown = pool("old", "192.0.2.0/24", "203.0.113.0/24")
                assert (await ask(api, port, grown, pool("old", "192.0.2.0/24")))["allowed"] is True
                labelled = young | {"metadata": young["metadata"] | {"labels": {"a": "b"}}}
                assert (await ask(api, port, labelled, young))["allowed"] is True

    run(case())


def test_what_the_condition_would_refuse_is_refused_at_the_door_in_its_words():
    backwards = "192.0.2.9-192.0.2.1"

    async def case() -> None:
        async with DiscoverableApi() as api:
            webhook_configuration(api)
            port = free_port()
            async with controller(api, "--webhook-port", str(port)):
                refused = await ask(api, port, pool("bad", "192.0.2.16/28", backwards))
                assert refused["allowed"] is False
                put_pool(api, "bad", "192.0.2.16/28", backwards)
                await eventually(lambda: accepted(api, "bad") == "Invalid", "the condition")
                shown_text = condition(api, "ipaddresspools", "bad", "Accepted")["message"]
                said = refused["status"]["message"]
                assert said == f"IPAddressPool {NAMESPACE}/bad: {shown_text}"
                assert said.endswith("ends before it begins; swap the two addresses")

    run(case())


def advertisement(*pools: str, group: str = "lbctl.io") -> dict[str, Any]:
    return {
        "apiVersion": f"{group}/v1beta1",
        "kind": "L2Advertisement",
        "metadata": {"name": "adv", "namespace": NAMESPACE},
        "spec": {"ipAddressPools": list(pools)},
    }


def test_an_advertisement_may_come_before_its_pool_and_says_so():
    async def case() -> None:
        async with DiscoverableApi() as api:
            webhook_configuration(api)
            put_pool(api, "main", "192.0.2.0/24")
            port = free_port()
            async with controller(api, "--webhook-port", str(port)):
                await eventually(lambda: accepted(api, "main") == "Accepted", "the pool")
                early = advertisement("main", "later")
                answer = await ask(api, port, early, plural="l2advertisements")
                assert answer["allowed"] is True
                (warning,) = answer["warnings"]
                assert warning.startswith(f"L2Advertisement {NAMESPACE}/adv: spec.ipAddressPools: ")
                assert "no pool later at present; create it or correct the name" in warning
                api.put("l2advertisements", early)

                def message() -> str:
                    shown = condition(api, "l2advertisements", "adv", "Accepted")
                    return str(shown.get("message"))

                await eventually(lambda: "no pool later" in message(), "the condition says it")
                put_pool(api, "later", "198.51.100.0/24")
                await eventually(
                    lambda: message() == "the advertisement is in effect", "nothing to say"
                )
                twice = advertisement("main", "main")
                answer = await ask(api, port, twice, plural="l2advertisements")
                assert "repeats spec.ipAddressPools[0]" in answer["status"]["message"]

    run(case())


def test_objects_of_metallbs_group_are_judged_by_our_rules():
    async def case() -> None:
        async with DiscoverableApi() as api:
            webhook_configuration(api)
            port = free_port()
            flags = ("--webhook-port", str(port), "--api-group", "metallb.io")
            async with controller(api, *flags):
                lax = pool("lax", "192.0.2.1") | {"apiVersion": "metallb.io/v1beta1"}
                answer = await ask(api, port, lax)
                assert "write 192.0.2.1/32" in answer["status"]["message"]
                twice = advertisement("main", "main", group="metallb.io")
                answer = await ask(api, port, twice, plural="l2advertisements")
                assert "repeats spec.ipAddressPools[0]" in answer["status"]["message"]

    run(case())


def test_an_object_in_another_namespace_is_not_created_and_an_old_one_is_warned_about():
    async def case() -> None:
        async with DiscoverableApi() as api:
            webhook_configuration(api)
            port = free_port()
            async with controller(api, "--webhook-port", str(port)):
                stray = pool("stray", "192.0.2.0/24")
                stray["metadata"]["namespace"] = "web"
                said = (await ask(api, port, stray))["status"]["message"]
                assert said.startswith("IPAddressPool web/stray: metadata.namespace: ")
                assert f"namespace {NAMESPACE} only; create the object there" in said
                edited = stray | {"spec": {"addresses": ["nonsense"]}}
                answer = await ask(api, port, edited, stray)
                assert answer["allowed"] is True
                assert "move the object there" in answer["warnings"][0]

    run(case())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_kopf_killed_again_and_again_disturbs_no_allocation_and_admission_returns():
    async def case() -> None:
        async with DiscoverableApi() as api:
            webhook_configuration(api)
            put_pool(api, "main", "192.0.2.0/24")
            port = free_port()
            async with controller(api, "--webhook-port", str(port)) as parts:
                operator = parts.operator
                assert operator is not None
                for life in range(1, 4):
                    fine = await ask(api, port, pool("fine", "203.0.113.0/24"))
                    assert fine["allowed"] is True
                    assert operator.lives == life
                    kill(operator)
                    put_service(api, f"shop-{life}", created=life)
                    await all_served(api, [f"shop-{life}"])
                await eventually(lambda: counters(api, "main")[0] == 3, "counters")
                assert {*shown(api, "shop-1"), *shown(api, "shop-3")} == {"192.0.2.0", "192.0.2.2"}
                assert list(parts.not_ready()) == []
                assert (await ask(api, port, pool("bad", "192.0.2.9/32")))["allowed"] is False

    run(case())


def test_a_webhook_whose_secret_rbac_denies_is_counted_and_makes_nobody_unready():
    async def case() -> None:
        async with DiscoverableApi() as api:
            api.faults.arm(FaultKind.FORBIDDEN, resource="secrets", times=None)
            put_pool(api, "main", "192.0.2.0/24")
            async with controller(api, "--webhook-port", str(free_port())) as parts:
                await eventually(lambda: not list(parts.inputs.problems()), "synced")
                await eventually(
                    lambda: any("RBAC refuses to get secrets" in p for _, p in parts.problems()),
                    "the problem",
                )
                assert list(parts.not_ready()) == []
                text = Exposition([parts.samples]).render().decode()
                assert 'lbctl_controller_problems{part="webhook"} 1.0' in text
                assert 'lbctl_controller_problems{part="inputs"} 0.0' in text
                assert "lbctl_webhook_restarts_total 0.0" in text
                put_service(api, "shop")
                await all_served(api, ["shop"])

    run(case())


def kill(operator: Operator) -> None:
    loop = operator.loop
    assert loop is not None

    def strike() -> None:
        for task in asyncio.all_tasks(loop):
            task.cancel()

    loop.call_soon_threadsafe(strike)
