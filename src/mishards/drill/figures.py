"""What clients saw of a fault, in figures, from the record of their calls.

Invariants: pure; all times are those of the clients' machine. A call counts where it ended.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import msgspec

from mishards.testing.history import Operation

_NOTABLE = 3.0
_LEAST_S = 0.25
"""A gap is an interruption when it is so many times the longest before the fault, and so long."""


class Moments(msgspec.Struct, frozen=True, kw_only=True):
    """Of a drill, in seconds of the clients' clock.

    Attributes:
        fault_s: when it was asked for.
        well_s: when all was well again.
    """

    begin_s: float
    fault_s: float
    well_s: float
    end_s: float


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """Calls of a stretch of time; `p99_ms` of those that succeeded, None without any."""

    calls: int
    failed: int
    p99_ms: float | None


class Calls(msgspec.Struct, frozen=True, kw_only=True):
    """How reads, or writes, went.

    Attributes:
        failed: since the fault.
        excused: of them, those that nobody could have answered while the fault lasted.
        longest_gap_s: the longest time without a success, from the fault on.
        recovery_s: from the fault until they succeeded again; 0 where they were not interrupted,
            None where they did not come back.
    """

    before: Phase
    during: Phase
    after: Phase
    failed: int
    excused: int
    longest_gap_s: float
    recovery_s: float | None


def figures(
    operations: Sequence[Operation],
    moments: Moments,
    hopeless: Callable[[Operation], bool] = lambda _: False,
) -> Calls:
    """The figures of these calls. Those that a client made again as others do not count as failed.

    Args:
        hopeless: whether nobody can answer the call until all is well.
    """
    ended = sorted((one for one in operations if one.end_s), key=lambda one: one.end_s)
    m = moments

    def phase(since_s: float, until_s: float) -> Phase:
        found = [one for one in ended if since_s <= one.end_s < until_s]
        return Phase(calls=len(found), failed=sum(map(_failed, found)), p99_ms=_p99_ms(found))

    late = [one for one in ended if one.end_s >= m.fault_s]
    gap_s, gap_end_s = _longest_gap(ended, m.fault_s, m.end_s)
    calm_s, _ = _longest_gap(ended, m.begin_s, m.fault_s)
    again_s: float | None = 0.0
    if not any(one.outcome == "ok" for one in late):
        again_s = None
    elif gap_s > max(_NOTABLE * calm_s, _LEAST_S):
        again_s = gap_end_s if gap_end_s < m.end_s else None
    failures = [one for one in late if _failed(one)]
    if failures and again_s is not None:
        last_s = failures[-1].end_s
        later = [one.end_s for one in late if one.outcome == "ok" and one.start_s >= last_s]
        again_s = max(again_s, min(later)) if later else None
    return Calls(
        before=phase(m.begin_s, m.fault_s),
        during=phase(m.fault_s, m.well_s),
        after=phase(m.well_s, float("inf")),
        failed=len(failures),
        excused=sum(one.end_s < m.well_s and hopeless(one) for one in failures),
        longest_gap_s=gap_s,
        recovery_s=again_s and max(again_s - m.fault_s, 0.0),
    )


def _failed(one: Operation) -> bool:
    return one.outcome != "ok" and not one.repeated


def _p99_ms(ended: Sequence[Operation]) -> float | None:
    took = sorted(one.end_s - one.start_s for one in ended if one.outcome == "ok")
    return 1000 * took[int(0.99 * len(took))] if took else None


def _longest_gap(ended: Sequence[Operation], since_s: float, until_s: float) -> tuple[float, float]:
    """The longest time between two successes that touches a span, and its end."""
    oks = [one.end_s for one in ended if one.outcome == "ok"]
    inside = [at_s for at_s in oks if since_s <= at_s <= until_s]
    before = max((at_s for at_s in oks if at_s < since_s), default=since_s)
    points = [before, *inside, until_s]
    return max((b - max(a, since_s), b) for a, b in itertools.pairwise(points))
