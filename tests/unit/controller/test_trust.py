"""The webhook's Secret and caBundle: made by the leader, read by all, renewed in time."""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from lbctl.api.backoff import Backoff
from lbctl.api.lease import AlwaysLeader, wall_clock
from lbctl.api.session import ApiSession
from lbctl.api.writer import Writer
from lbctl.controller.certificates import LIFETIME, ServingPair
from lbctl.controller.trust import Trust, TrustNames, TrustPace
from tests.support.fake_api import FakeApi
from tests.support.faults import Ask, FaultKind
from tests.support.loop import background, eventually, run

NAMESPACE = "lbctl-system"
NAMES = TrustNames(namespace=NAMESPACE, service="lbctl-webhook", configuration="lbctl-system-lbctl")
QUICK = Backoff(first_s=0.01, most_s=0.05)
PACE = TrustPace(eager_s=0.02, settled_s=0.05, failing=QUICK)


class Follower(AlwaysLeader):
    """A replica that does not hold the Lease."""

    def __init__(self, identity: str = "follower") -> None:
        super().__init__(identity)
        self.leading.clear()

    def may_write(self, now: float | None = None) -> bool:
        return self.leading.is_set()


class Replica:
    """A keeper of the certificate; `on_pair` hears of each pair, too."""

    trust: Trust

    def __init__(self) -> None:
        self.pairs: list[ServingPair] = []
        self.on_pair: Callable[[ServingPair], None] = lambda _: None

    def serve(self, pair: ServingPair) -> None:
        self.pairs.append(pair)
        self.on_pair(pair)


@asynccontextmanager
async def replica(
    api: FakeApi,
    leadership: AlwaysLeader,
    *,
    shift: dt.timedelta = dt.timedelta(),
    pace: TrustPace = PACE,
) -> AsyncIterator[Replica]:
    async with ApiSession(api.credentials()) as session:
        writer = Writer(session, may_write=leadership.may_write)
        one = Replica()
        one.trust = Trust(
            session, writer, leadership, NAMES,
            on_pair=one.serve, pace=pace, wall=lambda: wall_clock() + shift,
        )  # fmt: skip
        async with background(one.trust.run(), writer.run()):
            yield one


def configuration(api: FakeApi, service: str = "lbctl-webhook") -> None:
    client = {"service": {"namespace": NAMESPACE, "name": service, "path": "/ipaddresspools"}}
    foreign = {"service": {"namespace": "other", "name": "other"}, "caBundle": "b3RoZXI="}
    api.put(
        "validatingwebhookconfigurations",
        {
            "metadata": {"name": NAMES.configuration},
            "webhooks": [
                {"name": "pools", "clientConfig": client, "sideEffects": "None"},
                {"name": "other", "clientConfig": foreign},
            ],
        },
    )


def bundles(api: FakeApi) -> list[str]:
    body = api.get("validatingwebhookconfigurations", NAMES.configuration)
    assert body is not None
    return [hook["clientConfig"].get("caBundle", "") for hook in body["webhooks"]]


def trusted(pair: ServingPair) -> str:
    return base64.b64encode(pair.trusted_pem).decode()


def test_the_leader_makes_the_secret_and_the_api_server_trusts_it():
    async def case() -> None:
        async with FakeApi() as api:
            configuration(api)
            async with replica(api, AlwaysLeader("a")) as leader:
                await eventually(lambda: leader.pairs and bundles(api)[0], "a caBundle")
                secret = api.get("secrets", NAMES.service, NAMESPACE)
                assert secret is not None
                assert secret["type"] == "kubernetes.io/tls"
                assert bundles(api) == [trusted(leader.pairs[0]), "b3RoZXI="]
                body = api.get("validatingwebhookconfigurations", NAMES.configuration)
                assert body is not None
                assert body["webhooks"][0]["sideEffects"] == "None"

    run(case())


def test_a_follower_serves_the_leaders_pair_and_writes_nothing():
    async def case() -> None:
        async with FakeApi() as api:
            async with replica(api, Follower()) as follower:
                await eventually(lambda: api.count(Ask.GET, "secrets") > 2, "it looks")
                assert not follower.pairs
                async with replica(api, AlwaysLeader("a")) as leader:
                    await eventually(lambda: follower.pairs, "the follower's pair")
                    assert follower.pairs == leader.pairs
            assert api.methods()["POST"] == 1
            assert api.methods()["PUT"] == 0

    run(case())


def test_a_restart_keeps_the_pair_and_writes_nothing():
    async def case() -> None:
        async with FakeApi() as api:
            configuration(api)
            async with replica(api, AlwaysLeader("a")) as first:
                await eventually(lambda: bundles(api)[0], "a caBundle")
            writes = api.count(Ask.WRITE)
            async with replica(api, AlwaysLeader("b")) as second:
                await eventually(
                    lambda: (
                        second.pairs and api.count(Ask.GET, "validatingwebhookconfigurations") > 3
                    ),
                    "the second process has looked",
                )
                assert second.pairs == first.pairs
            assert api.count(Ask.WRITE) == writes

    run(case())


def test_a_pair_near_its_end_is_replaced_and_both_are_trusted_meanwhile():
    async def case() -> None:
        async with FakeApi() as api:
            configuration(api)
            old_wall = dt.timedelta() - LIFETIME * 0.9
            async with replica(api, AlwaysLeader("a"), shift=old_wall) as first:
                await eventually(lambda: bundles(api)[0], "the first caBundle")
            async with replica(api, AlwaysLeader("b")) as second:
                await eventually(
                    lambda: second.pairs and bundles(api)[0] == trusted(second.pairs[-1]),
                    "the second caBundle",
                )
                assert second.pairs[-1] != first.pairs[0]
                assert second.pairs[-1].trusted_pem.endswith(first.pairs[0].trusted_pem)

    run(case())


def test_a_damaged_secret_and_an_emptied_bundle_are_repaired():
    async def case() -> None:
        async with FakeApi() as api:
            configuration(api)
            async with replica(api, AlwaysLeader("a")) as leader:
                await eventually(lambda: bundles(api)[0], "a caBundle")
                damaged = dict(api.get("secrets", NAMES.service, NAMESPACE) or {})
                api.put("secrets", damaged | {"data": {"tls.crt": "bm9uc2Vuc2U="}})
                configuration(api)
                await eventually(
                    lambda: len(leader.pairs) == 2 and bundles(api)[0] == trusted(leader.pairs[1]),
                    "a new pair",
                )

    run(case())


def test_after_a_deleted_secret_the_old_pair_is_trusted_until_the_new_one_is_everywhere():
    async def case() -> None:
        async with FakeApi() as api:
            configuration(api)
            async with (
                replica(api, AlwaysLeader("a")) as leader,
                replica(api, Follower()) as follower,
            ):
                await eventually(lambda: bundles(api)[0] and follower.pairs, "the first pair")
                first = leader.pairs[0]
                api.delete("secrets", NAMES.service, NAMESPACE)
                await eventually(
                    lambda: len(leader.pairs) == len(follower.pairs) == 2, "both serve the new one"
                )
                second = leader.pairs[1]
                assert follower.pairs[1] == second
                assert second.certificate_pem != first.certificate_pem
                assert second.trusted_pem.endswith(first.trusted_pem)
                assert bundles(api)[0] == trusted(second)

    run(case())


def test_a_renewed_pair_is_served_after_api_servers_have_learned_whom_to_trust():
    async def case() -> None:
        async with FakeApi() as api:
            configuration(api)
            known: list[bool] = []
            async with replica(api, AlwaysLeader("a")) as leader:
                await eventually(lambda: bundles(api)[0], "the first caBundle")
                leader.pairs.clear()
                leader.on_pair = lambda pair: known.append(bundles(api)[0] == trusted(pair))
                api.delete("secrets", NAMES.service, NAMESPACE)
                await eventually(lambda: known, "the second pair")
            assert known == [True]

    run(case())


def test_a_follower_looks_twice_at_a_new_pair_before_it_serves_it():
    """Between the two the leader tells API servers whom to trust."""

    async def case() -> None:
        async with FakeApi() as api:
            async with replica(api, AlwaysLeader("a")) as leader:
                await eventually(lambda: leader.pairs, "the first pair")
            former = api.get("secrets", NAMES.service, NAMESPACE)
            assert former is not None
            api.delete("secrets", NAMES.service, NAMESPACE)
            async with replica(api, AlwaysLeader("b")) as leader:
                await eventually(lambda: leader.pairs, "the second pair")
            latter = api.get("secrets", NAMES.service, NAMESPACE)
            assert latter is not None
            api.put("secrets", former)
            looks: list[int] = []
            async with replica(api, Follower()) as follower:
                await eventually(lambda: follower.pairs, "the first pair is served")
                follower.on_pair = lambda _: looks.append(api.count(Ask.GET, "secrets"))
                before = api.count(Ask.GET, "secrets")
                api.put("secrets", latter)
                await eventually(lambda: looks, "the second pair is served")
                assert follower.pairs[-1] == leader.pairs[-1]
            assert looks[0] - before >= 2

    run(case())


def test_a_certificate_of_a_leader_whose_clock_was_ahead_is_replaced():
    async def case() -> None:
        async with FakeApi() as api:
            configuration(api)
            async with replica(api, AlwaysLeader("a"), shift=dt.timedelta(days=3)) as ahead:
                await eventually(lambda: bundles(api)[0], "the first caBundle")
            async with replica(api, AlwaysLeader("b")) as right:
                await eventually(
                    lambda: right.pairs and bundles(api)[0] == trusted(right.pairs[-1]),
                    "a certificate that is valid now",
                )
                assert right.pairs[-1] != ahead.pairs[0]
            writes = api.count(Ask.WRITE)
            async with replica(api, AlwaysLeader("a"), shift=dt.timedelta(days=3)) as ahead:
                await eventually(lambda: ahead.pairs, "it serves the same")
                assert ahead.pairs == [right.pairs[-1]], "the two do not take turns"
            assert api.count(Ask.WRITE) == writes

    run(case())


def test_two_leaders_of_one_moment_end_up_with_one_pair():
    async def case() -> None:
        async with FakeApi() as api:
            async with replica(api, AlwaysLeader("a")) as a, replica(api, AlwaysLeader("b")) as b:
                await eventually(
                    lambda: a.pairs and b.pairs and a.pairs[-1] == b.pairs[-1], "one pair"
                )
            assert len(api.objects("secrets")) == 1

    run(case())


def test_denied_secrets_are_said_once_and_tried_again():
    async def case() -> None:
        async with FakeApi() as api:
            api.faults.arm(FaultKind.FORBIDDEN, resource="secrets", times=3)
            async with replica(api, AlwaysLeader("a")) as leader:
                await eventually(lambda: leader.trust.problem, "the problem")
                assert "RBAC refuses to get secrets" in str(leader.trust.problem)
                await eventually(lambda: leader.pairs, "a pair in the end")

    run(case())


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted(Backoff):
    """Waits next to nothing, and keeps how many failures in a row it was asked about."""

    asked: list[int] = field(default_factory=list)

    def delay_s(self, failures: int, *, most_s: float | None = None) -> float:
        del most_s
        self.asked.append(failures)
        return 0.001


def test_a_write_that_rbac_denies_is_said_once_and_tried_ever_less_often(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def case() -> None:
        async with FakeApi() as api:
            api.faults.arm(
                FaultKind.FORBIDDEN, resource="secrets", asks=frozenset({Ask.WRITE}), times=None
            )
            counted = Counted()
            pace = TrustPace(eager_s=0.02, settled_s=0.05, failing=counted)
            async with replica(api, AlwaysLeader("a"), pace=pace) as leader:
                await eventually(lambda: len(counted.asked) > 4, "it tries again")
                assert counted.asked[:5] == [1, 2, 3, 4, 5]
                problem = str(leader.trust.problem)
                assert problem.startswith("webhook certificate: RBAC refuses to create secrets")
                api.faults.lift()
                await eventually(lambda: leader.pairs, "a pair in the end")
                await eventually(lambda: leader.trust.problem is None, "no problem any more")

    with caplog.at_level("INFO", logger="lbctl.controller.trust"):
        run(case())
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]


def test_failing_looks_come_a_minute_apart_in_the_end() -> None:
    assert TrustPace().failing.delay_s(1) < 4
    assert 30 <= TrustPace().failing.delay_s(20) <= 90


def test_an_old_pair_is_served_while_its_renewal_is_denied() -> None:
    async def case() -> None:
        async with FakeApi() as api:
            async with replica(
                api, AlwaysLeader("a"), shift=dt.timedelta() - LIFETIME * 0.9
            ) as first:
                await eventually(lambda: first.pairs, "the first pair")
            api.faults.arm(
                FaultKind.FORBIDDEN, resource="secrets", asks=frozenset({Ask.WRITE}), times=None
            )
            async with replica(api, AlwaysLeader("b")) as second:
                await eventually(lambda: second.trust.problem, "the problem")
                assert second.pairs == first.pairs

    run(case())
