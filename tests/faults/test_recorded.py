"""The recorded workload itself: a sound history passes, and each kind of damage to it is found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy

import pytest

import mishards
from mishards.core.schema import Metric
from mishards.metadata.models import ConsistencyLevel
from mishards.testing.history import Found, History, Operation
from mishards.testing.invariants import Checker
from mishards.testing.log_watch import LogWatch
from mishards.testing.recorded import Workload
from mishards.testing.witness import Durable

Recorded = tuple[Workload, list[Durable]]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    """A run against a sound server."""
    data = tmp_path_factory.mktemp("recorded") / "data"
    with mishards.start(data) as server, LogWatch(data) as log:
        workload = Workload([server.uri])
        workload.create()
        with workload.running(3, pause_s=0.005):
            workload.go_on(60)
        workload.check(log.durable())
        assert not log.changed
        yield workload, log.durable()


def test_every_kind_of_call_was_made(recorded: Recorded) -> None:
    kinds = {o.kind for o in recorded[0].history.operations if o.outcome == "ok"}
    assert kinds == {"insert", "upsert", "delete", "query", "count", "search"}


def lose_a_row(one: Operation) -> None:
    one.found = one.found[1:]
    one.counts = (one.counts[0] - 1, *one.counts[1:]) if one.counts else ()


def invent_a_row(one: Operation) -> None:
    one.found = (Found(-5, 0, -5), *one.found[1:])


def show_a_row_twice(one: Operation) -> None:
    one.found = (one.found[0], *one.found[: len(one.found) - 1], one.found[0])
    one.counts = (one.counts[0] + 1, *one.counts[1:]) if one.counts else ()


def acknowledge_too_much(one: Operation) -> None:
    one.timestamp += 1


def end_too_late(one: Operation) -> None:
    one.end_s = one.start_s + one.timeout_s + 5


@pytest.mark.parametrize(
    ("kind", "damage", "invariant"),
    [
        ("query", lose_a_row, "I4"),
        ("search", lose_a_row, "I4"),
        ("query", invent_a_row, "I2"),
        ("search", invent_a_row, "I2"),
        ("query", show_a_row_twice, "I2"),
        ("insert", acknowledge_too_much, "I1"),
        ("delete", acknowledge_too_much, "I1"),
        ("search", end_too_late, "I7"),
    ],
)
def test_damage_is_found(
    recorded: Recorded, kind: str, damage: Callable[[Operation], None], invariant: str
) -> None:
    workload, log = recorded
    history = History()
    history.operations = deepcopy(workload.history.operations)
    damaged = [
        one
        for one in history.operations
        if one.kind == kind
        and one.outcome == "ok"
        and (one.is_write or (one.found and one.level is ConsistencyLevel.STRONG))
    ][-1]
    damage(damaged)
    checker = Checker(history, log, workload.collection, Metric.L2, 5.0, grace_s=1.0)
    found = checker.check()
    assert invariant in {violation.invariant for violation in found}, list(map(str, found))


def test_a_lost_write_is_found(recorded: Recorded) -> None:
    """An acknowledged mutation that the log does not hold."""
    workload, log = recorded
    lost = next(one for one in workload.history.operations if one.kind == "upsert")
    kept = [d for d in log if lost.timestamp not in {m.timestamp for m in d.entry.mutations}]
    checker = Checker(workload.history, kept, workload.collection, Metric.L2, 5.0, grace_s=1.0)
    assert "I1" in {violation.invariant for violation in checker.check()}
