"""Nodes that vanish from a registry: who left, who lost its session, and what pauses prove."""

from __future__ import annotations

from mishards.core.ids import NodeId
from mishards.discovery.grace import Grace

A, B = NodeId("a"), NodeId("b")
TTL_S = 3.0


def test_who_left_is_gone_at_once_and_who_vanished_stays_for_a_while() -> None:
    grace: Grace[int] = Grace(TTL_S)
    assert grace.look({A: 1, B: 2}, (), 0.0) == {A: 1, B: 2}
    assert grace.look({}, (B,), 0.5) == {A: 1}
    assert grace.look({}, (), 1.5) == {A: 1}
    assert grace.look({}, (), 2.5) == {A: 1}
    assert grace.look({}, (), 3.5) == {}


def test_who_comes_back_counts_anew() -> None:
    grace: Grace[int] = Grace(TTL_S)
    grace.look({A: 1}, (), 0.0)
    for now_s in (1.0, 2.0):
        assert grace.look({}, (), now_s) == {A: 1}
    assert grace.look({A: 2}, (), 2.9) == {A: 2}
    for now_s in (3.9, 4.9):
        assert grace.look({}, (), now_s) == {A: 2}
    assert grace.look({}, (), 5.9) == {}
    assert grace.look({A: 3}, (), 6.0) == {A: 3}


def test_the_observers_own_pause_buries_nobody() -> None:
    grace: Grace[int] = Grace(TTL_S)
    grace.look({A: 1}, (), 0.0)
    assert grace.look({}, (), 1000.0) == {A: 1}
    assert grace.look({}, (), 2000.0) == {A: 1}
    assert grace.look({}, (), 3000.0) == {}


def test_the_last_look_can_be_read_again() -> None:
    grace: Grace[int] = Grace(TTL_S)
    assert grace.entries() == {}
    grace.look({A: 1}, (), 0.0)
    grace.look({B: 2}, (), 0.1)
    assert grace.entries() == {A: 1, B: 2}
