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
        self._measures = reading.measures
        self.preparer = SearchPreparer(reading.measures)

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
        reading, measures, clock = self._reading, self._measures, self._reading.clock
        recorder = current()
        if recorder is not None:
            recorder.begin("get_routing")
        began_s = clock()
        snapshot = reading.state.snapshot
        view = snapshot.resolve(call.database, call.collection)
        prepared = self.preparer.prepare(call, view)
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

        planned_s = clock()
        answers = reading.ask_now(plan.assignment, request, recorder)
        if answers is None:
            return None
        partials = [partial for _, partial in answers if isinstance(partial, SearchPartial)]
        if len(partials) < len(answers) or any(partial.failures for partial in partials):
            return None
        found_s = clock()
        if recorder is not None:
            recorder.begin("do_merge")
        hits = _best(call, prepared, partials)
        rows = hits.columns
        merged_s = clock()
        if prepared.output.columns and not columns and len(hits.units):
            winners = Winners(plan, prepared.output.columns, hits)
            if recorder is not None:
                recorder.begin("fetch")
            fetched = reading.ask_now(plan.narrowed(winners.units), winners.request, recorder)
            if fetched is None:
                return None
            rows = winners.rows(fetched)
            measures.fetch.observe(clock() - merged_s)
        # A search that the loop makes all over again is not measured twice.
        measures.get_routing.observe(planned_s - began_s)
        measures.do_search.observe(found_s - planned_s)
        measures.do_merge.observe(merged_s - found_s)
        measures.in_thread.inc()
        measures.queries.inc(call.nq)
        if self._guard.due():
            self._guard.offer(call, prepared, plan, moment, hits)
        return _answer(prepared, hits, rows, moment)

    async def search(self, call: SearchCall) -> SearchAnswer:
        """The answer from whichever readers hold the segments."""
        deadline_s = self._reading.deadline_s(call.timeout_s)
        for attempt in range(_PLANS):
            try:
                with self._reading.in_use.held():
                    answer = await self._search_once(call, deadline_s)
                self._measures.on_loop.inc()
                self._measures.queries.inc(call.nq)
                return answer
            except StalePlan as error:
                self._measures.stale_plans.inc()
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
        began_s = reading.clock()
        snapshot = reading.state.snapshot
        view = snapshot.resolve(call.database, call.collection)
        prepared = self.preparer.prepare(call, view)
        check_queries(call, prepared.field)
        moment = await reading.moment(call, view, deadline_s)
        plan = await reading.plan(view, prepared.scope, snapshot.version, deadline_s)
        self._measures.get_routing.observe(reading.clock() - began_s)
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
                if coverage is not None:
                    self._measures.partial_answers.inc()
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

        clock, measures = self._reading.clock, self._measures
        began_s = clock()
        gathered: Gathered[SearchPartial] = await self._reading.read(
            plan, request, moment, deadline_s, partial=partial
        )
        found_s = clock()
        if (recorder := current()) is not None:
            recorder.begin("do_merge")
        hits = _best(call, prepared, [found for _, found in gathered.served])
        measures.do_search.observe(found_s - began_s)
        measures.do_merge.observe(clock() - found_s)
        return hits, gathered.missing

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
        began_s = self._reading.clock()
        winners = Winners(plan, columns, hits)
        if (recorder := current()) is not None:
            recorder.begin("fetch")
        fetched = await self._reading.fetch(
            plan, winners.units, winners.request, deadline_s, partial=partial
        )
        rows = None if fetched.missing else winners.rows(fetched.served)
        self._measures.fetch.observe(self._reading.clock() - began_s)
        return rows, fetched.missing


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
        "collection": plan.view.name,
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
