"""Figures of a drill, from made-up calls: one a tenth of a second, unless told otherwise."""

from __future__ import annotations

from mishards.drill.figures import Moments, figures
from mishards.testing.history import Operation

MOMENTS = Moments(begin_s=0.0, fault_s=10.0, well_s=20.0, end_s=30.0)


def call(end_s: float, outcome: str = "ok", took_s: float = 0.01, **more: bool) -> Operation:
    return Operation(
        client="c",
        kind="search",
        timeout_s=10.0,
        start_s=end_s - took_s,
        end_s=end_s,
        outcome=outcome,
        **more,
    )


def calm(since: int, until: int) -> list[Operation]:
    return [call(tenth / 10) for tenth in range(10 * since + 1, 10 * until)]


def test_what_goes_on_undisturbed_was_not_interrupted() -> None:
    found = figures(calm(0, 30), MOMENTS)
    assert found.failed == 0
    assert found.recovery_s == 0.0
    assert 0.09 < found.longest_gap_s < 0.21
    assert [p.calls for p in (found.before, found.during, found.after)] == [99, 100, 100]
    assert found.before.p99_ms is not None
    assert abs(found.before.p99_ms - 10) < 0.1


def test_the_end_of_the_longest_gap_is_the_recovery() -> None:
    found = figures([*calm(0, 10), *calm(13, 30)], MOMENTS)
    assert found.recovery_s is not None
    assert abs(found.recovery_s - 3.1) < 0.01
    assert abs(found.longest_gap_s - 3.1) < 0.01


def test_a_gap_in_which_the_fault_came_counts_from_the_fault_on() -> None:
    found = figures([*calm(0, 9), *calm(13, 30)], MOMENTS)
    assert abs(found.longest_gap_s - 3.1) < 0.01


def test_failures_count_and_recovery_is_after_the_last_of_them() -> None:
    failed = [call(12.05, "failed"), call(15.05, "failed")]
    found = figures([*calm(0, 30), *failed], MOMENTS)
    assert (found.failed, found.during.failed, found.before.failed) == (2, 2, 0)
    assert found.recovery_s is not None
    assert 5.05 < found.recovery_s < 5.3


def test_a_call_that_was_made_again_as_another_has_not_failed() -> None:
    found = figures([*calm(0, 30), call(12.05, "failed", repeated=True)], MOMENTS)
    assert found.failed == 0


def test_hopeless_calls_are_excused_until_all_is_well() -> None:
    calls = [*calm(0, 30), call(12.05, "failed"), call(25.05, "failed")]
    found = figures(calls, MOMENTS, lambda one: one.kind == "search")
    assert (found.failed, found.excused) == (2, 1)
    assert figures(calls, MOMENTS).excused == 0


def test_calls_that_never_succeed_again_have_no_recovery() -> None:
    assert figures(calm(0, 12), MOMENTS).recovery_s is None
    failing = [call(12 + n / 10, "failed") for n in range(200)]
    assert figures([*calm(0, 12), *failing], MOMENTS).recovery_s is None


def test_without_calls_there_are_no_figures() -> None:
    found = figures([], MOMENTS)
    assert found.recovery_s is None
    assert found.before.p99_ms is None
