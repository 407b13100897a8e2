"""Without the API server for 40 s, a claim by a published peer is believed; never before."""

from __future__ import annotations

from ipaddress import ip_address

from speaker.agent.contact import Contact, claimed, judged

A, B = ip_address("192.0.2.1"), ip_address("192.0.2.2")


def test_an_outage_alone_releases_nothing():
    contact = judged(Contact(), 100.0, 100.0, 100.0)
    assert judged(contact, 10_000.0, 100.0, 100.0).released == frozenset()


def test_a_claim_during_contact_releases_nothing():
    contact = claimed(judged(Contact(), 100.0, 100.0, 100.0), 139.0, A)
    assert contact.released == frozenset()
    assert contact.deadline == 140.0


def test_a_claim_heard_in_the_silence_counts_when_the_silence_is_long_enough():
    contact = claimed(judged(Contact(), 100.0, 100.0, 100.0), 139.0, A)
    assert judged(contact, 139.9, 100.0, 100.0).released == frozenset()
    assert judged(contact, 140.0, 100.0, 100.0).released == {A}


def test_a_claim_from_before_the_last_contact_is_forgotten():
    contact = claimed(judged(Contact(), 100.0, 100.0, 100.0), 105.0, A)
    contact = judged(contact, 110.0, 110.0, 110.0)
    assert judged(contact, 200.0, 110.0, 110.0).released == frozenset()


def test_a_released_address_stays_released_until_contact_has_been_back_for_a_while():
    contact = judged(Contact(), 0.0, 0.0, 0.0)
    contact = claimed(claimed(contact, 50.0, A), 51.0, B)
    assert contact.released == {A, B}
    contact = judged(contact, 60.0, 60.0, 60.0)
    assert contact.released == {A, B}
    assert contact.deadline == 62.0
    assert judged(contact, 61.9, 61.0, 61.0).released == {A, B}
    assert judged(contact, 62.0, 61.0, 61.0).released == frozenset()


def test_contact_that_is_lost_again_while_coming_back_starts_over():
    contact = claimed(judged(Contact(), 0.0, 0.0, 0.0), 50.0, A)
    contact = judged(contact, 60.0, 60.0, 60.0)
    contact = judged(contact, 101.0, 60.5, 60.5)
    contact = judged(contact, 110.0, 109.0, 109.0)
    assert contact.released == {A}
    assert contact.deadline == 112.0


def test_a_speaker_that_never_had_contact_judges_nothing():
    contact = claimed(Contact(), 100.0, A)
    assert judged(contact, 1000.0, None, None).released == frozenset()
    assert contact.deadline is None


def test_a_released_address_waits_for_the_input_that_comes_back_last():
    """One answered request is contact, but the moves we missed come with the watches."""
    contact = claimed(judged(Contact(), 0.0, 0.0, 0.0), 50.0, A)
    contact = judged(contact, 60.0, 60.0, 5.0)
    assert contact.deadline == 61.0
    contact = judged(contact, 90.0, 89.0, 5.0)
    assert contact.released == {A}
    contact = judged(contact, 91.0, 90.5, 90.5)
    assert contact.released == {A}
    assert judged(contact, 93.0, 92.0, 90.5).released == frozenset()
