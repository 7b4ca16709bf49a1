"""What a drill found, and the verdict on it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from mishards.drill.figures import Calls
from mishards.testing.violation import Violation

CHECKED = {
    "I1": "acknowledged writes are never lost and never undone",
    "I2": "no phantom row, no key twice in an answer",
    "I3": "no read is older than its level allows",
    "I4": "no answer silently misses anything",
    "I5": "one epoch at a time writes",
    "I7": "calls end within their deadline",
    "I9": "a top-k is that of one node with all rows",
}
WITHIN_S = 10.0
"""After a fault, or after the end of one that nobody can do without, calls succeed within this."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A broken invariant, or a last read that failed (`healing`)."""

    invariant: str
    what: str
    call: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A whole drill.

    Attributes:
        fault: in words.
        seconds: how long it was to last; of a kill, how long was watched at least.
        reads, writes: of the drill's own clients.
        back_s: from the fault until as many nodes of the role serve as before, all answering; None
            where they did not within the patience.
        rows: acknowledged rows that were written.
        lost_rows: of them, gone.
        findings: broken invariants.
        left: the drill's own collection, where it could not be dropped.
        wrong: reasons why the drill failed; none: it passed.
    """

    drill: str
    cluster: str
    node: str
    fault: str
    seconds: float
    reads: Calls
    writes: Calls
    back_s: float | None
    rows: int
    lost_rows: int
    findings: tuple[Finding, ...]
    left: str = ""
    wrong: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.wrong

    @property
    def invariants(self) -> dict[str, bool]:
        """Whether each that is checked holds."""
        broken = {finding.invariant for finding in self.findings}
        return {name: name not in broken for name in CHECKED}


def findings_of(violations: Sequence[Violation]) -> tuple[Finding, ...]:
    return tuple(
        Finding(invariant=one.invariant, what=one.what, call=one.operation) for one in violations
    )


def judged(report: Report, wait_s: float = 0.0) -> Report:
    """The same with the reasons why it failed, if it did.

    Args:
        wait_s: how long calls could only wait, whatever the cluster did.
    """
    wrong: list[str] = []
    if report.lost_rows:
        wrong.append(f"{report.lost_rows:,} acknowledged rows are lost")
    for name in sorted({finding.invariant for finding in report.findings}):
        found = [finding.what for finding in report.findings if finding.invariant == name]
        what = CHECKED.get(name, "all is well after the drill")
        wrong.append(f"{name} ({what}) is broken {len(found):,} times: {found[0]}")
    for kind, calls in (("reads", report.reads), ("writes", report.writes)):
        if not calls.before.calls - calls.before.failed:
            wrong.append(f"no {kind} succeeded before the fault, so the drill shows nothing")
        elif calls.before.failed:
            wrong.append(f"{calls.before.failed:,} {kind} failed before the fault")
        if failed := calls.failed - calls.excused:
            wrong.append(f"{failed:,} {kind} failed after the fault")
        if calls.recovery_s is None:
            wrong.append(f"{kind} did not succeed again")
        elif calls.recovery_s > wait_s + WITHIN_S:
            wrong.append(f"{kind} succeeded again only after {calls.recovery_s:.1f} s")
    if report.back_s is None:
        wrong.append("as many nodes as before did not come back; who starts a killed one again?")
    if report.left:
        wrong.append(f"the drill's own collection {report.left} could not be dropped")
    return msgspec.structs.replace(report, wrong=tuple(wrong))
