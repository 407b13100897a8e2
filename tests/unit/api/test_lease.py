"""The rules of an election: one writer, a quick hand-over, no faith in clocks of others."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from lbctl.api.lease import AlwaysLeader, Leadership, LeaseElector, LeaseTimes
from lbctl.api.session import ApiSession
from tests.support.fake_api import FakeApi
from tests.support.faults import FaultKind
from tests.support.loop import background, eventually, run, stop

# Real seconds, as short as a shared machine allows; the clock of a case can be shifted.
QUICK = LeaseTimes(duration_s=1.0, renew_deadline_s=0.6, retry_s=0.05, margin_s=0.1)


# For cases in which nothing may expire, however slow the machine is.
PATIENT = LeaseTimes(duration_s=3600, renew_deadline_s=1800, retry_s=0.02)


class ShiftedClock:
    """The loop's clock plus what a test adds."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return asyncio.get_running_loop().time() + self.ahead


def elector(session: ApiSession, identity: str, **changes: Any) -> LeaseElector:
    settings: dict[str, Any] = {
        "namespace": "lbctl-system",
        "name": "lb-controller",
        "identity": identity,
        "times": QUICK,
        "jitter": lambda: 0.5,
        "clock": ShiftedClock(),
    }
    return LeaseElector(session, **(settings | changes))


def spec(api: FakeApi) -> dict[str, Any]:
    lease = api.get("leases", "lb-controller", "lbctl-system")
    assert lease is not None
    inner: dict[str, Any] = lease["spec"]
    return inner


def held_by(api: FakeApi, identity: str, *, seconds: int = 1) -> None:
    api.put(
        "leases",
        {
            "metadata": {"name": "lb-controller", "namespace": "lbctl-system"},
            "spec": {
                "holderIdentity": identity,
                "leaseDurationSeconds": seconds,
                "renewTime": "2001-01-01T00:00:00.000000Z",
                "acquireTime": "2001-01-01T00:00:00.000000Z",
                "leaseTransitions": 3,
            },
        },
    )


def asked_beyond(api: FakeApi, number: int) -> bool:
    return len(api.asked) > number


def test_the_first_one_creates_the_lease_and_leads() -> None:
    async def case() -> None:
        async with FakeApi() as api, ApiSession(api.credentials()) as session:
            a = elector(session, "a", times=PATIENT)
            assert not a.may_write()
            async with background(a.run()):
                await asyncio.wait_for(a.leading.wait(), 10)
                assert a.may_write()
                assert not a.lost.is_set()
                assert (a.term, a.holder, a.problem) == (1, "a", None)
                assert spec(api)["holderIdentity"] == "a"

    run(case())


def test_of_two_only_one_leads_and_a_release_hands_over_at_once() -> None:
    async def case() -> None:
        async with FakeApi() as api, ApiSession(api.credentials()) as session:
            a, b = elector(session, "a", times=PATIENT), elector(session, "b", times=PATIENT)
            running = asyncio.ensure_future(a.run())
            await asyncio.wait_for(a.leading.wait(), 10)
            async with background(b.run()):
                await eventually(lambda: b.holder == "a")
                assert not b.may_write()
                await stop(running)
                assert not a.may_write()
                assert a.lost.is_set()
                await asyncio.wait_for(b.leading.wait(), 10)
                assert spec(api)["leaseTransitions"] == 1

    run(case())


def test_a_dead_holder_is_replaced_after_its_lease_has_expired_by_our_own_clock() -> None:
    async def case() -> None:
        async with FakeApi() as api, ApiSession(api.credentials()) as session:
            held_by(api, "dead", seconds=15)
            clock = ShiftedClock()
            b = elector(session, "b", clock=clock)
            async with background(b.run()):
                await eventually(lambda: b.holder == "dead")
                asked = len(api.asked)
                await eventually(lambda: len(api.asked) > asked + 2)
                assert not b.leading.is_set(), "its renewTime of 2001 proves nothing"
                clock.ahead = 16.0
                await asyncio.wait_for(b.leading.wait(), 10)
                assert spec(api)["leaseTransitions"] == 4

    run(case())


def test_a_holder_that_renews_is_never_replaced() -> None:
    async def case() -> None:
        async with FakeApi() as api, ApiSession(api.credentials()) as session:
            held_by(api, "busy", seconds=15)
            clock = ShiftedClock()
            b = elector(session, "b", clock=clock)
            async with background(b.run()):
                for turn in range(5):
                    await eventually(lambda: b.holder == "busy")
                    lease = api.get("leases", "lb-controller", "lbctl-system")
                    assert lease is not None
                    renewed = lease["spec"] | {"renewTime": f"2001-01-01T00:00:{turn:02d}Z"}
                    api.put("leases", {"metadata": lease["metadata"], "spec": renewed})
                    await eventually(partial(asked_beyond, api, len(api.asked) + 2))
                    clock.ahead += 10
                assert not b.leading.is_set()

    run(case())


def test_a_lease_that_is_deleted_stays_its_holders_until_it_would_have_expired() -> None:
    async def case() -> None:
        async with FakeApi() as api, ApiSession(api.credentials()) as session:
            held_by(api, "busy", seconds=15)
            clock = ShiftedClock()
            b = elector(session, "b", clock=clock)
            async with background(b.run()):
                await eventually(lambda: b.holder == "busy")
                api.delete("leases", "lb-controller", "lbctl-system")
                await eventually(partial(asked_beyond, api, len(api.asked) + 3))
                assert not b.leading.is_set(), "its holder does not know yet"
                assert api.get("leases", "lb-controller", "lbctl-system") is None
                clock.ahead = 16.0
                await asyncio.wait_for(b.leading.wait(), 10)

    run(case())


def test_a_leader_whose_lease_is_deleted_makes_it_anew_and_goes_on() -> None:
    async def case() -> None:
        async with FakeApi() as api, ApiSession(api.credentials()) as session:
            a, b = elector(session, "a", times=PATIENT), elector(session, "b", times=PATIENT)
            async with background(a.run()):
                await asyncio.wait_for(a.leading.wait(), 10)
                async with background(b.run()):
                    await eventually(lambda: b.holder == "a")
                    for _ in range(5):
                        api.delete("leases", "lb-controller", "lbctl-system")
                        await eventually(lambda: api.get("leases", "lb-controller", "lbctl-system"))
                    assert spec(api)["holderIdentity"] == "a"
                    assert (a.term, a.may_write(), b.term) == (1, True, 0)

    run(case())


def test_the_same_identity_takes_its_own_lease_back_at_once() -> None:
    async def case() -> None:
        async with FakeApi() as api, ApiSession(api.credentials()) as session:
            held_by(api, "a", seconds=3600)
            a = elector(session, "a", times=PATIENT)
            async with background(a.run()):
                await asyncio.wait_for(a.leading.wait(), 10)
                assert spec(api)["leaseTransitions"] == 3

    run(case())


def test_a_partitioned_leader_stops_before_its_successor_starts() -> None:
    async def case() -> None:
        async with FakeApi() as api:
            cut = Gate()
            async with ApiSession(api.credentials()) as near, ApiSession(api.credentials()) as far:
                a, b = elector(far, "a"), elector(near, "b")
                cut.watch(far)
                writers: list[tuple[bool, bool]] = []
                async with background(a.run()):
                    await asyncio.wait_for(a.leading.wait(), 10)
                    async with background(b.run(), observe(writers, a, b)):
                        await eventually(lambda: b.holder == "a")
                        cut.closed = True
                        await asyncio.wait_for(b.leading.wait(), 10)
                        assert a.lost.is_set()
                        assert not a.may_write()
                        assert a.problem is not None
                        cut.closed = False
                        await eventually(lambda: a.holder == "b")
                        assert not a.leading.is_set()
                assert (True, True) not in writers, "two writers at once"
                assert {(True, False), (False, True)} <= set(writers)

    run(case())


class Gate:
    """Cut one session off, as a partition does, while the other goes on."""

    def __init__(self) -> None:
        self.closed = False

    def watch(self, session: ApiSession) -> None:
        request = session.request
        gate = self

        async def gated(method: str, path: str, **kwargs: Any) -> Any:
            if gate.closed:
                # What a cut link is like: silence until the caller's patience ends.
                await asyncio.Event().wait()
            return await request(method, path, **kwargs)

        session.request = gated  # type: ignore[method-assign]


async def observe(seen: list[tuple[bool, bool]], *electors: LeaseElector) -> None:
    """Note who may write, again and again."""
    while True:
        a, b = (elector.may_write() for elector in electors)
        seen.append((a, b))
        await asyncio.sleep(0.001)


@pytest.mark.parametrize(
    "kind",
    [FaultKind.UNAVAILABLE, FaultKind.NO_ANSWER, FaultKind.HALF_BODY, FaultKind.TOKEN_EXPIRED],
    ids=lambda kind: kind.value,
)
def test_a_leader_without_answers_steps_down_and_comes_back(kind: FaultKind) -> None:
    async def case() -> None:
        async with FakeApi() as api, ApiSession(api.credentials()) as session:
            a = elector(session, "a")
            async with background(a.run()):
                await asyncio.wait_for(a.leading.wait(), 10)
                api.faults.arm(kind, times=None)
                await asyncio.wait_for(a.lost.wait(), 10)
                assert not a.may_write()
                assert a.problem
                api.faults.lift()
                await asyncio.wait_for(a.leading.wait(), 10)
                assert a.term >= 2, "a new term, so that the controller lists again"

    run(case())


def test_one_bad_answer_costs_nothing() -> None:
    async def case() -> None:
        async with FakeApi() as api, ApiSession(api.credentials()) as session:
            a = elector(session, "a", times=PATIENT)
            async with background(a.run()):
                await asyncio.wait_for(a.leading.wait(), 10)
                api.faults.arm(FaultKind.CONFLICT)
                api.faults.arm(FaultKind.SERVER_ERROR)
                await eventually(lambda: len(api.faults.struck) == 2)
                asked = len(api.asked)
                await eventually(lambda: len(api.asked) > asked + 2)
                assert (a.term, a.may_write()) == (1, True)

    run(case())


def test_may_write_ends_with_the_deadline_even_if_the_task_is_stuck() -> None:
    async def case() -> None:
        async with FakeApi() as api, ApiSession(api.credentials()) as session:
            clock = ShiftedClock()
            times = LeaseTimes(duration_s=15, renew_deadline_s=10, retry_s=2, margin_s=1)
            a = elector(session, "a", clock=clock, times=times)
            async with background(a.run()):
                await asyncio.wait_for(a.leading.wait(), 10)
                now = clock()
                assert a.may_write(now)
                assert a.may_write(a._renewed_at + 8.9)
                assert not a.may_write(a._renewed_at + 9.1), "a second before the deadline"

    run(case())


def test_a_lease_taken_by_force_ends_the_term() -> None:
    async def case() -> None:
        async with FakeApi() as api, ApiSession(api.credentials()) as session:
            a = elector(session, "a", times=PATIENT)
            async with background(a.run()):
                await asyncio.wait_for(a.leading.wait(), 10)
                held_by(api, "intruder", seconds=3600)
                await asyncio.wait_for(a.lost.wait(), 10)
                assert a.holder == "intruder"
            assert spec(api)["holderIdentity"] == "intruder", "not ours to release"

    run(case())


def test_a_missing_grant_for_leases_is_named() -> None:
    async def case() -> None:
        async with FakeApi() as api, ApiSession(api.credentials()) as session:
            api.faults.arm(FaultKind.FORBIDDEN, times=None)
            a = elector(session, "a")
            async with background(a.run()):
                await eventually(lambda: a.problem)
                assert "RBAC refuses to get leases.coordination.k8s.io" in (a.problem or "")

    run(case())


def test_a_release_that_fails_does_not_hold_up_the_end() -> None:
    async def case() -> None:
        async with FakeApi() as api, ApiSession(api.credentials()) as session:
            a = elector(session, "a", times=PATIENT)
            running = asyncio.ensure_future(a.run())
            await asyncio.wait_for(a.leading.wait(), 10)
            api.faults.arm(FaultKind.NO_ANSWER, times=None)
            await asyncio.wait_for(stop(running), 10)
            assert not a.may_write()

    run(case())


def test_a_controller_that_runs_alone_always_leads() -> None:
    async def case() -> None:
        alone: Leadership = AlwaysLeader("only")
        assert alone.leading.is_set()
        assert not alone.lost.is_set()
        assert alone.may_write()
        assert alone.may_write(1e12)
        assert (alone.identity, alone.holder, alone.term) == ("only", "only", 1)
        running = asyncio.ensure_future(alone.run())
        await stop(running)

    run(case())


@pytest.mark.parametrize(
    "make",
    [
        lambda: LeaseTimes(duration_s=10, renew_deadline_s=10),
        lambda: LeaseTimes(renew_deadline_s=2, retry_s=2),
        lambda: LeaseTimes(retry_s=0),
        lambda: LeaseTimes(margin_s=10),
    ],
    ids=["deadline = duration", "retry = deadline", "no retry", "margin = deadline"],
)
def test_times_that_let_two_write_are_refused(make: Callable[[], LeaseTimes]) -> None:
    with pytest.raises(ValueError, match="a Lease"):
        make()
