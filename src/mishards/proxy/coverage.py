"""What an answer covers, where it may be partial.

Invariants: an answer is complete, or it says what it misses; one that covers nothing is an error.
"""

from __future__ import annotations

from mishards.proxy.calls import Coverage
from mishards.proxy.reading import ReadPlan
from mishards.proxy.scatter import Missing


def coverage_of(plan: ReadPlan, missing: Missing) -> Coverage | None:
    """The coverage of an answer to `plan` without what is missing; None where it is complete.

    Raises:
        MishardsError: all is missing; why the first unit is.
    """
    if not missing:
        return None
    if len(missing) == len(plan.assignment.units):
        raise next(iter(missing.values()))
    segments = plan.scope.segments
    rows = {segment: plan.view.segments[segment].rows for segment in segments}
    lost = [segment for segment in segments if segment in missing]
    return Coverage(
        segments=len(segments),
        searched_segments=len(segments) - len(lost),
        rows=sum(rows.values()),
        searched_rows=sum(rows.values()) - sum(rows[segment] for segment in lost),
        growing=-plan.view.id not in missing,
        missing=tuple(
            f"{'growing rows' if unit < 0 else f'segment {unit}'}: {error.message}"
            for unit, error in missing.items()
        ),
    )
