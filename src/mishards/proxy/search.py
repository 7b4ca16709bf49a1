"""A search: prepare, plan, choose the moment, scatter, merge, fetch the output fields.

`search_now` runs these steps in the calling thread, without fail-over; `search` on the loop, for
every other case.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from mishards.core.errors import StalePlan
from mishards.observability.tracing import Recorder, current
from mishards.proxy.calls import Coverage, SearchAnswer, SearchCall
from mishards.proxy.consistency import Moment
from mishards.proxy.coverage import coverage_of
from mishards.proxy.joining import FEW_QUERIES
from mishards.proxy.merge import Hits, merge_hits, skip_hits
from mishards.proxy.output import cut_dynamic
from mishards.proxy.prepare import PreparedSearch, SearchPreparer, check_queries
from mishards.proxy.reading import Reading, ReadPlan
from mishards.proxy.recall_guard import RecallGuard
from mishards.proxy.scatter import Gathered, Missing
from mishards.proxy.winners import Winners
from mishards.routing.protocol import Unit
from mishards.rpc.messages import ReadPoint, Search, SearchPartial

_PLANS = 3
"""How often a read is planned anew when readers have moved on from its snapshot."""


class SearchPath:
    """The proxy's searches."""

    def __init__(self, reading: Reading, guard: RecallGuard) -> None:
        self._reading = reading
        self._guard = guard
        self._preparer = SearchPreparer()

    def search_now(self, call: SearchCall) -> SearchAnswer | None:
        """The answer, got without the loop; None where that cannot be or does not succeed.

        For few queries only: a large search would keep the thread from other calls.
        """
        if call.nq > FEW_QUERIES:
            return None
        in_use = self._reading.in_use
        use = in_use.begin()
        try:
            return self._search_now(call)
        finally:
            in_use.end(use)

    def _search_now(self, call: SearchCall) -> SearchAnswer | None:
        reading, recorder = self._reading, current()
        if recorder is not None:
            recorder.begin("get_routing")
        snapshot = reading.state.snapshot
        view = snapshot.resolve(call.database, call.collection)
        prepared = self._preparer.prepare(call, view)
        check_queries(call, prepared.field)
        moment = reading.moment_now(call, view)
        plan = reading.plan_now(view, prepared.scope, snapshot.version)
        if plan is None or moment is None or moment.from_storage:
            return None
        columns = prepared.output.columns if len(plan.assignment.groups) == 1 else ()
        if recorder is not None:
            _searching(recorder, call, prepared, plan)

        def request(units: Sequence[Unit]) -> Search:
            return _message(call, prepared, plan.point(units, moment), columns)

        answers = reading.ask_now(plan.assignment, request, recorder)
        if answers is None:
            return None
        partials = [partial for _, partial in answers if isinstance(partial, SearchPartial)]
        if len(partials) < len(answers) or any(partial.failures for partial in partials):
            return None
        if recorder is not None:
            recorder.begin("do_merge")
        hits = _best(call, prepared, partials)
        rows = hits.columns
        if prepared.output.columns and not columns and len(hits.units):
            winners = Winners(plan, prepared.output.columns, hits)
            if recorder is not None:
                recorder.begin("fetch")
            fetched = reading.ask_now(plan.narrowed(winners.units), winners.request, recorder)
            if fetched is None:
                return None
            rows = winners.rows(fetched)
        if self._guard.due():
            self._guard.offer(call, prepared, plan, moment, hits)
        return _answer(prepared, hits, rows, moment)

    async def search(self, call: SearchCall) -> SearchAnswer:
        """The answer from whichever readers hold the segments."""
        deadline_s = self._reading.deadline_s(call.timeout_s)
        for attempt in range(_PLANS):
            try:
                with self._reading.in_use.held():
                    return await self._search_once(call, deadline_s)
            except StalePlan as error:
                if attempt == _PLANS - 1:
                    raise
                if (recorder := current()) is not None:
                    recorder.leave()
                    recorder.event("stale_plan", cause=error.message)
                await self._reading.catch_up(deadline_s)
        raise AssertionError("unreachable")

    async def _search_once(self, call: SearchCall, deadline_s: float) -> SearchAnswer:
        reading, recorder = self._reading, current()
        if recorder is not None:
            recorder.begin("get_routing")
        snapshot = reading.state.snapshot
        view = snapshot.resolve(call.database, call.collection)
        prepared = self._preparer.prepare(call, view)
        check_queries(call, prepared.field)
        moment = await reading.moment(call, view, deadline_s)
        plan = await reading.plan(view, prepared.scope, snapshot.version, deadline_s)
        partial = reading.allows_partial(call)
        missing: Missing = {}
        while True:
            if recorder is not None:
                _searching(recorder, call, prepared, plan.without(missing))
            hits, lost = await self._hits(
                call, prepared, plan.without(missing), moment, deadline_s, partial
            )
            missing = {**missing, **lost}
            coverage = coverage_of(plan, missing)
            rows, lost = await self._rows(prepared, plan, hits, deadline_s, partial)
            if not lost:
                if not missing and self._guard.due():
                    self._guard.offer(call, prepared, plan, moment, hits)
                return _answer(prepared, hits, rows, moment, coverage)
            # Hits whose rows nobody can give are none: the search is repeated without them.
            missing = {**missing, **lost}
            coverage_of(plan, missing)

    async def _hits(
        self,
        call: SearchCall,
        prepared: PreparedSearch,
        plan: ReadPlan,
        moment: Moment,
        deadline_s: float,
        partial: bool,
    ) -> tuple[Hits, Missing]:
        """The best hits of what can be searched, and what can not."""
        columns = prepared.output.columns if len(plan.assignment.groups) == 1 else ()

        def request(units: Sequence[Unit], at: Moment) -> Search:
            return _message(call, prepared, plan.point(units, at), columns)

        gathered: Gathered[SearchPartial] = await self._reading.read(
            plan, request, moment, deadline_s, partial=partial
        )
        if (recorder := current()) is not None:
            recorder.begin("do_merge")
        return _best(call, prepared, [found for _, found in gathered.served]), gathered.missing

    async def _rows(
        self,
        prepared: PreparedSearch,
        plan: ReadPlan,
        hits: Hits,
        deadline_s: float,
        partial: bool,
    ) -> tuple[pa.RecordBatch | None, Missing]:
        """The output columns of the hits, and the units whose rows nobody can give."""
        columns = prepared.output.columns
        if not columns or hits.columns is not None or not len(hits.units):
            return hits.columns, {}
        winners = Winners(plan, columns, hits)
        if (recorder := current()) is not None:
            recorder.begin("fetch")
        fetched = await self._reading.fetch(
            plan, winners.units, winners.request, deadline_s, partial=partial
        )
        return (None if fetched.missing else winners.rows(fetched.served)), fetched.missing


def _best(call: SearchCall, prepared: PreparedSearch, partials: Sequence[SearchPartial]) -> Hits:
    """The hits of the answer: the best `k` of all readers, less the offset."""
    hits = merge_hits(
        partials, call.nq, prepared.k, smaller_is_closer=prepared.metric.smaller_is_closer
    )
    return skip_hits(hits, call.offset)


def _searching(
    recorder: Recorder, call: SearchCall, prepared: PreparedSearch, plan: ReadPlan
) -> None:
    """The plan is made: the readers are asked next."""
    scope = plan.scope
    segments = len(scope.segments)
    recorder.stage.attributes = {
        "segments": segments,
        "segments_pruned": len(plan.view.segments) - segments,
        "growing": scope.growing,
        "readers": len(plan.assignment.groups),
    }
    recorder.begin("do_search").attributes = {
        "field": prepared.field.name,
        "k": prepared.k,
        "nq": call.nq,
        "filtered": bool(call.filter),
    }


def _message(
    call: SearchCall, prepared: PreparedSearch, at: ReadPoint, columns: tuple[str, ...]
) -> Search:
    return Search(
        at=at,
        field=prepared.field.name,
        queries=call.queries,
        nq=call.nq,
        k=prepared.k,
        params=prepared.params,
        filter=call.filter,
        templates=call.templates,
        output=columns,
    )


def _answer(
    prepared: PreparedSearch,
    hits: Hits,
    rows: pa.RecordBatch | None,
    moment: Moment,
    coverage: Coverage | None = None,
) -> SearchAnswer:
    output = prepared.output
    return SearchAnswer(
        view=prepared.view,
        metric=prepared.metric,
        counts=hits.counts,
        keys=hits.keys,
        distances=hits.distances,
        columns=None if rows is None else cut_dynamic(rows, output),
        output=output.names,
        read_ts=moment.read_ts,
        coverage=coverage,
    )
