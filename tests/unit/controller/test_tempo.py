"""When a plan begins: at once when it is quiet, gathered under load."""

from __future__ import annotations

from lbctl.controller.tempo import Tempo, TempoLimits

LIMITS = TempoLimits(burst=3, refill_per_s=10.0, gather_s=0.05, gather_most_s=0.2, echo_s=0.3)


def drained(at: float, cost_s: float = 0.0) -> Tempo:
    """Return a tempo whose tokens were all taken at one instant."""
    tempo = Tempo(LIMITS)
    for _ in range(LIMITS.burst):
        tempo.planned(began=at, ended=at + cost_s)
    return tempo


def test_nothing_to_plan_means_no_plan():
    assert Tempo(LIMITS).begins_at(news_at=None, echo_at=None) is None


def test_news_is_planned_at_once_when_it_was_quiet():
    tempo = Tempo(LIMITS)
    tempo.planned(began=1.0, ended=1.0)
    assert tempo.begins_at(news_at=1.0, echo_at=None) == 1.0


def test_news_after_a_burst_waits_for_company():
    assert drained(at=1.0).begins_at(news_at=1.01, echo_at=None) == 1.05


def test_costly_plans_are_further_apart_but_never_beyond_the_most():
    assert drained(at=1.0, cost_s=0.06).begins_at(news_at=1.07, echo_at=None) == 1.06 + 0.12
    assert drained(at=1.0, cost_s=5.0).begins_at(news_at=6.0, echo_at=None) == 6.0 + 0.2


def test_quiet_time_fills_the_bucket_again():
    assert drained(at=1.0).begins_at(news_at=1.2, echo_at=None) == 1.2


def test_our_own_writes_coming_back_wait_for_the_next_plan():
    tempo = Tempo(LIMITS)
    assert tempo.begins_at(news_at=None, echo_at=1.0) == 1.3
    assert tempo.begins_at(news_at=1.1, echo_at=1.0) == 1.1
