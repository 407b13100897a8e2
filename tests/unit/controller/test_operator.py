"""The admission server in its own thread: what it answers, and that its death harms nobody."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import gc
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from lbctl.api.backoff import Backoff
from lbctl.controller.admission import Admitted, Answer, Denied
from lbctl.controller.certificates import ServingPair, make_serving_pair
from lbctl.controller.operator import Door, Operator, OperatorSettings
from lbctl.kube.groups import IP_ADDRESS_POOL, own_groups
from tests.support.discovery import DiscoverableApi
from tests.support.loop import eventually, run

NAME = "lbctl-webhook.lbctl-system.svc"
OVERLAP = "pool old has 192.0.2.0-192.0.2.255, too"
LEAVES_SOCKETS = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""kopf that is killed leaves them to the garbage collector, which Python warns of."""


def new_pair(after: ServingPair | None = None) -> ServingPair:
    return make_serving_pair(
        dns_names=(NAME,),
        now=dt.datetime.now(dt.UTC),
        previous_trusted_pem=after.trusted_pem if after else b"",
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def judge(body: Mapping[str, Any], old: Mapping[str, Any] | None) -> Answer:
    match body["metadata"]["name"]:
        case "young":
            return Denied(message=OVERLAP)
        case "doubtful":
            return Admitted(warnings=("look again",))
        case "fault":
            raise ZeroDivisionError
    return Admitted()


@contextmanager
def operating(api: DiscoverableApi, pause_s: float = 0.05) -> Iterator[Operator]:
    operator = Operator(
        OperatorSettings(
            host="127.0.0.1",
            port=free_port(),
            doors=(Door(resource=own_groups()[IP_ADDRESS_POOL], judge=judge),),
        ),
        credentials=api.credentials(),
        backoff=Backoff(first_s=pause_s, most_s=pause_s * 2),
    )
    try:
        yield operator
    finally:
        assert operator.stop(15.0), "kopf's thread did not end"


async def review(operator: Operator, pair: ServingPair, name: str) -> dict[str, Any] | None:
    """Ask as an API server asks; None when nobody answers."""
    request = {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "1",
            "kind": {"group": "lbctl.io", "version": "v1beta1", "kind": "IPAddressPool"},
            "resource": {"group": "lbctl.io", "version": "v1beta1", "resource": "ipaddresspools"},
            "operation": "CREATE",
            "userInfo": {"username": "somebody"},
            "object": {
                "apiVersion": "lbctl.io/v1beta1",
                "kind": "IPAddressPool",
                "metadata": {"name": name, "namespace": "lbctl-system"},
                "spec": {"addresses": ["192.0.2.0/24"]},
            },
            "oldObject": None,
        },
    }
    context = ssl.create_default_context(cadata=pair.trusted_pem.decode())
    url = f"https://127.0.0.1:{operator.settings.port}/ipaddresspools"
    async with aiohttp.ClientSession() as client:
        try:
            async with client.post(url, json=request, ssl=context, server_hostname=NAME) as answer:
                return (await answer.json())["response"] if answer.status == 200 else None
        except aiohttp.ClientError:
            return None


async def reviewed(operator: Operator, pair: ServingPair, name: str) -> dict[str, Any]:
    """Return the answer, as soon as there is one."""
    async with asyncio.timeout(20):
        while (answer := await review(operator, pair, name)) is None:  # noqa: ASYNC110 - a poll
            await asyncio.sleep(0.02)
    return answer


def test_the_refusal_carries_the_judges_own_words_and_a_good_pool_passes():
    async def case() -> None:
        async with DiscoverableApi() as api:
            pair = new_pair()
            with operating(api) as operator:
                operator.serve(pair)
                refused = await reviewed(operator, pair, "young")
                assert refused["allowed"] is False
                assert refused["status"] == {"message": OVERLAP, "code": 403}
                assert (await reviewed(operator, pair, "old"))["allowed"] is True
                await asyncio.to_thread(operator.stop, 15.0)
            assert api.methods().keys() <= {"GET"}, "kopf must not write"

    run(case())


def test_a_doubt_is_a_warning_and_a_fault_of_ours_refuses_nobody():
    async def case() -> None:
        async with DiscoverableApi() as api:
            pair = new_pair()
            with operating(api) as operator:
                operator.serve(pair)
                doubtful = await reviewed(operator, pair, "doubtful")
                assert (doubtful["allowed"], doubtful["warnings"]) == (True, ["look again"])
                assert (await reviewed(operator, pair, "fault"))["allowed"] is True
                await asyncio.to_thread(operator.stop, 15.0)

    run(case())


@LEAVES_SOCKETS
def test_killed_tasks_bring_kopf_back_and_touch_no_task_of_the_main_loop():
    async def case() -> None:
        beats = 0

        async def beat() -> None:
            nonlocal beats
            while True:
                beats += 1
                await asyncio.sleep(0.005)

        async with DiscoverableApi() as api:
            pair = new_pair()
            task = asyncio.create_task(beat())
            with operating(api) as operator:
                operator.serve(pair)
                await reviewed(operator, pair, "old")
                lives = operator.lives
                kill(operator)
                await eventually(lambda: operator.lives > lives, "another life of kopf")
                assert operator.restarts == 1
                assert (await reviewed(operator, pair, "young"))["allowed"] is False
                before = beats
                await eventually(lambda: beats > before + 3, "the main loop goes on")
                assert not task.done()
                await asyncio.to_thread(operator.stop, 15.0)
            task.cancel()

    run(case())


@LEAVES_SOCKETS
def test_whoever_connects_while_kopf_dies_is_not_left_waiting():
    async def case() -> None:
        called: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        async with DiscoverableApi() as api:
            pair = new_pair()
            # The next life is far away: it answers none of these.
            with operating(api, pause_s=60.0) as operator:
                operator.serve(pair)
                await reviewed(operator, pair, "old")
                # Or it might find by chance what was left behind.
                gc.disable()
                try:
                    for number in range(100):
                        if number == 10:
                            kill(operator)
                        with contextlib.suppress(ConnectionError):
                            at = ("127.0.0.1", operator.settings.port)
                            called.append(await asyncio.open_connection(*at))
                    await eventually(lambda: operator.loop is None, "kopf's end")
                    for reader, writer in called:
                        with contextlib.suppress(ConnectionError):
                            assert await reader.read() == b""
                        writer.close()
                finally:
                    gc.enable()
        assert len(called) >= 10

    run(case())


def kill(operator: Operator) -> None:
    """Cancel everything in kopf's loop, as a fatal error of kopf does."""
    loop = operator.loop
    assert loop is not None

    def strike() -> None:
        for task in asyncio.all_tasks(loop):
            task.cancel()

    loop.call_soon_threadsafe(strike)


def test_an_api_server_that_is_busy_at_the_start_is_waited_for():
    async def case() -> None:
        async with DiscoverableApi() as api:
            pair = new_pair()
            api.closed = True
            with operating(api) as operator:
                operator.serve(pair)
                await eventually(lambda: api.turned_away, "kopf asks")
                api.closed = False
                assert (await reviewed(operator, pair, "old"))["allowed"] is True
                await asyncio.to_thread(operator.stop, 15.0)

    run(case())


def test_a_new_certificate_is_served_without_leaving_a_question_unanswered():
    async def case() -> None:
        async with DiscoverableApi() as api:
            old = new_pair()
            new = new_pair(after=old)
            with operating(api) as operator:
                operator.serve(old)
                await reviewed(operator, old, "old")
                answers: list[dict[str, Any] | None] = []

                async def ask(times: int) -> None:
                    for _ in range(times):
                        answer = await review(operator, new, "young")
                        answers.append(answer)

                async with asyncio.TaskGroup() as group:
                    for _ in range(4):
                        group.create_task(ask(25))
                    while len(answers) < 20:  # noqa: ASYNC110 - a poll
                        await asyncio.sleep(0.001)
                    operator.serve(new)
                assert [answer and answer["allowed"] for answer in answers] == [False] * 100
                only_new = replace(new, trusted_pem=first_certificate(new.trusted_pem))
                assert await review(operator, only_new, "old") is not None
                assert await review(operator, old, "old") is None
                assert (operator.lives, operator.restarts) == (1, 0)
                await asyncio.to_thread(operator.stop, 15.0)

    run(case())


def first_certificate(pem: bytes) -> bytes:
    end = b"-----END CERTIFICATE-----\n"
    return pem.partition(end)[0] + end


def test_the_admission_server_speaks_tls_1_3_alone():
    async def case() -> None:
        async with DiscoverableApi() as api:
            pair = new_pair()
            with operating(api) as operator:
                operator.serve(pair)
                await reviewed(operator, pair, "old")
                context = ssl.create_default_context(cadata=pair.trusted_pem.decode())
                context.maximum_version = ssl.TLSVersion.TLSv1_2
                at = ("127.0.0.1", operator.settings.port)
                with pytest.raises((ssl.SSLError, ConnectionResetError)):
                    await asyncio.open_connection(*at, ssl=context, server_hostname=NAME)
                await asyncio.to_thread(operator.stop, 15.0)

    run(case())


@LEAVES_SOCKETS
def test_a_pair_that_tls_cannot_use_leaves_the_one_before_in_use():
    async def case() -> None:
        async with DiscoverableApi() as api:
            pair, other = new_pair(), new_pair()
            with operating(api) as operator:
                operator.serve(pair)
                await reviewed(operator, pair, "old")
                operator.serve(replace(pair, certificate_pem=b"nonsense"))
                operator.serve(replace(pair, key_pem=other.key_pem))
                assert await review(operator, pair, "old") is not None
                kill(operator)
                await eventually(lambda: operator.lives == 2, "another life of kopf")
                assert (await reviewed(operator, pair, "old"))["allowed"] is True
                await asyncio.to_thread(operator.stop, 15.0)

    run(case())


def test_stopping_before_the_start_ends_at_once_and_nothing_serves_afterwards():
    async def case() -> None:
        async with DiscoverableApi() as api:
            with operating(api) as operator:
                assert operator.stop(1.0)
                operator.serve(new_pair())
                assert operator.lives == 0
            assert not [t for t in threading.enumerate() if t.name == "kopf"]

    run(case())
