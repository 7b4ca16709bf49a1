"""TopK without indexes, which tells how much the searches with them find.

Invariants: one at a time; it is worked on in short steps off the loop, none of which begins while
another read is in flight, and takes a small part of one processor; what cannot be done so in time
is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

from mishards.core.errors import TooManyRequests
from mishards.core.runtime import Runtime
from mishards.reader.filters import MaskCache
from mishards.reader.partial import Merged, UnitHits
from mishards.reader.plan import ReadState, rows_of_segment
from mishards.reader.search import (
    Target,
    best_of_units,
    checked_queries,
    growing_hits,
    most_rows,
    partial_of,
    search_growing,
    segment_hits,
)
from mishards.rpc.messages import Search, SearchPartial
from mishards.segments.scan import scan_segment

_US_PER_NUMBER = 1.5e-4
_STEP_NUMBERS = 10_000_000
"""About 1.5 ms."""
_REST = 9.0
"""Times as long as a step took nothing is done after it,"""
_LONGEST_REST_S = 0.05
"""up to this: on a busy machine a step takes longer than it works."""
_LOOK_S = 0.002


class ExactSearches:
    """Those of one reader. From the loop's thread."""

    def __init__(self, runtime: Runtime, masks: MaskCache, reads: Callable[[], int]) -> None:
        """`reads`: how many reads are in flight on the reader, the one that is asked for among
        them."""
        self._runtime = runtime
        self._masks = masks
        self._reads = reads
        self._running = False

    async def search(
        self, state: ReadState, target: Target, message: Search, deadline_s: float
    ) -> SearchPartial:
        """As `Searcher.search`, exactly.

        Raises:
            TooManyRequests: another one runs, or it cannot be done in time beside other reads.
            InvalidParameter: the queries do not have the field's dimension.
        """
        if self._running:
            raise TooManyRequests("another exact search runs on this reader")
        rows = sum(opened.segment.rows for opened in state.segments)
        needed_s = rows * message.nq * target.field.dim * _US_PER_NUMBER * 1e-6 * (1 + _REST)
        if self._runtime.monotonic_s() + needed_s > deadline_s:
            raise TooManyRequests(f"an exact search of {rows} rows takes {needed_s:.1f} s here")
        self._running = True
        try:
            return await self._run(_steps(state, target, message, self._masks), deadline_s)
        finally:
            self._running = False

    async def _run(
        self, steps: Generator[None, None, SearchPartial], deadline_s: float
    ) -> SearchPartial:
        while True:
            while self._reads() > 1:
                await self._pause(_LOOK_S, deadline_s)
            began_s = self._runtime.monotonic_s()
            answer = await self._runtime.blocking(_step, steps)
            if answer is not None:
                return answer
            took_s = self._runtime.monotonic_s() - began_s
            await self._pause(min(_REST * took_s, _LONGEST_REST_S), deadline_s)

    async def _pause(self, seconds: float, deadline_s: float) -> None:
        if self._runtime.monotonic_s() + seconds > deadline_s:
            raise TooManyRequests("this reader is too busy for an exact search")
        await self._runtime.sleep(seconds)


def _step(steps: Generator[None, None, SearchPartial]) -> SearchPartial | None:
    """Do the next piece; the answer after the last one. A `StopIteration` could not leave a
    thread."""
    try:
        next(steps)
    except StopIteration as done:
        answer: SearchPartial = done.value
        return answer
    return None


def _steps(
    state: ReadState, target: Target, message: Search, masks: MaskCache
) -> Generator[None, None, SearchPartial]:
    queries = checked_queries(message, target)
    limit = most_rows(state)
    fetch = min(message.k, max(limit, 1))
    while True:
        units: list[UnitHits] = []
        for source, opened in enumerate(state.segments):
            rows = rows_of_segment(opened, state, target.selection, masks)
            yield
            if rows is not None and rows.rows == 0:
                continue
            distances, offsets = yield from scan_segment(
                opened.segment,
                target.field,
                target.metric,
                queries,
                fetch,
                None if rows is None else rows.bits,
                _STEP_NUMBERS,
            )
            units.append(segment_hits(source, opened, distances, offsets))
        if state.growing is not None:
            found = search_growing(state.growing, target, masks, queries, fetch)
            if found is not None:
                units.append(growing_hits(len(state.segments), state.growing, *found))
        merged: Merged = best_of_units(state, target, units, message.nq, message.k)
        if merged.complete or fetch >= limit:
            return partial_of(state, message, merged)
        fetch = min(2 * fetch, limit)
