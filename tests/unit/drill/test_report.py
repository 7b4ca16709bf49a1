"""The verdict: every weakness that a drill may find makes it fail, and is named."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from mishards.drill.figures import Calls, Phase
from mishards.drill.report import Finding, Report, judged

FINE = Phase(calls=100, failed=0, p99_ms=5.0)
CALLS = Calls(
    before=FINE, during=FINE, after=FINE, failed=0, excused=0, longest_gap_s=0.1, recovery_s=0.5
)
SOUND = Report(
    drill="kill-reader",
    cluster="c",
    node="reader-1",
    fault="kill -9 reader-1",
    seconds=5.0,
    reads=CALLS,
    writes=CALLS,
    back_s=2.0,
    rows=500,
    lost_rows=0,
    findings=(),
)


def but(calls: Calls = CALLS, **changes: Any) -> Calls:
    return msgspec.structs.replace(calls, **changes)


def test_a_sound_cluster_passes() -> None:
    report = judged(SOUND)
    assert report.passed
    assert all(report.invariants.values())


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"lost_rows": 3}, "3 acknowledged rows are lost"),
        ({"findings": (Finding(invariant="I1", what="lost", call=""),)}, "I1"),
        ({"findings": (Finding(invariant="healing", what="failed", call=""),)}, "healing"),
        ({"reads": but(failed=2)}, "2 reads failed after the fault"),
        ({"writes": but(failed=2)}, "2 writes failed after the fault"),
        ({"reads": but(recovery_s=None)}, "reads did not succeed again"),
        ({"writes": but(recovery_s=11.0)}, "only after 11.0 s"),
        ({"back_s": None}, "did not come back"),
        ({"left": "_drill_1"}, "_drill_1 could not be dropped"),
        ({"reads": but(before=Phase(calls=0, failed=0, p99_ms=None))}, "shows nothing"),
        ({"reads": but(before=Phase(calls=9, failed=1, p99_ms=1.0))}, "1 reads failed before"),
    ],
)
def test_each_weakness_makes_it_fail(changes: dict[str, Any], why: str) -> None:
    report = judged(msgspec.structs.replace(SOUND, **changes))
    assert not report.passed
    assert why in " ".join(report.wrong)


def test_what_nobody_could_have_answered_is_excused_and_waited_for() -> None:
    writes = but(failed=7, excused=7, recovery_s=12.0)
    report = msgspec.structs.replace(SOUND, writes=writes)
    assert judged(report, wait_s=5.0).passed
    assert not judged(report).passed
    one_more = msgspec.structs.replace(SOUND, writes=but(writes, failed=8))
    assert "1 writes failed after the fault" in judged(one_more, wait_s=5.0).wrong
