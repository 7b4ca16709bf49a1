"""Queries: rows by filter, merged by primary key, or their number alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa

from mishards.core import limits
from mishards.core.columns import arrow_schema
from mishards.core.errors import InvalidParameter, StalePlan
from mishards.expr import Filter
from mishards.metadata.models import ConsistencyLevel
from mishards.metadata.snapshot import CollectionView
from mishards.observability.tracing import current
from mishards.proxy.calls import Coverage, QueryAnswer, QueryCall
from mishards.proxy.consistency import Moment
from mishards.proxy.coverage import coverage_of
from mishards.proxy.merge import merge_rows
from mishards.proxy.output import OutputPlan, cut_dynamic, plan_output
from mishards.proxy.plan import read_scope
from mishards.proxy.prepare import compile_selection
from mishards.proxy.reading import Reading
from mishards.proxy.scatter import Gathered
from mishards.routing.protocol import Unit
from mishards.rpc.messages import Query, QueryPartial

COUNT = "count(*)"
_PLANS = 3


class _Found(NamedTuple):
    """What the readers answered; `coverage` None where that is everything."""

    partials: list[QueryPartial]
    coverage: Coverage | None

    def total(self) -> int:
        return sum(partial.count for partial in self.partials)


class QueryPath:
    """The proxy's queries.

    Whoever reads rows may write by them (a delete by filter does), so a query is partial only
    where the call itself allows it, whatever the proxy is set to.
    """

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    async def query(self, call: QueryCall) -> QueryAnswer:
        """Rows by primary key, or their number."""
        deadline_s = self._reading.deadline_s(call.timeout_s)
        for attempt in range(_PLANS):
            try:
                with self._reading.in_use.held():
                    return await self._query_once(call, deadline_s)
            except StalePlan as error:
                self._reading.measures.stale_plans.inc()
                if attempt == _PLANS - 1:
                    raise
                if (recorder := current()) is not None:
                    recorder.leave()
                    recorder.event("stale_plan", cause=error.message)
                await self._reading.catch_up(deadline_s)
        raise AssertionError("unreachable")

    async def _query_once(self, call: QueryCall, deadline_s: float) -> QueryAnswer:
        recorder = current()
        if recorder is not None:
            recorder.begin("get_routing")
        view = self._reading.state.snapshot.resolve(call.database, call.collection)
        selection = compile_selection(call.filter, view.schema, call.templates)
        _check(call, selection)
        moment = await self._reading.moment(call, view, deadline_s)
        if call.output == (COUNT,):
            found = await self._ask(call, view, selection, moment, (), deadline_s, count=True)
            return QueryAnswer(
                view=view,
                columns=None,
                count=found.total(),
                output=(COUNT,),
                read_ts=moment.read_ts,
                coverage=found.coverage,
            )
        output = plan_output(view.schema, call.output, with_primary=True)
        found = await self._ask(
            call, view, selection, moment, output.columns, deadline_s, count=False
        )
        if recorder is not None:
            recorder.begin("do_merge")
        rows = merge_rows(found.partials, view.schema.primary.name, call.offset, call.limit)
        return QueryAnswer(
            view=view,
            columns=_shaped(rows, view, output),
            count=None,
            output=output.names,
            read_ts=moment.read_ts,
            coverage=found.coverage,
        )

    async def _ask(
        self,
        call: QueryCall,
        view: CollectionView,
        selection: Filter | None,
        moment: Moment,
        columns: tuple[str, ...],
        deadline_s: float,
        *,
        count: bool,
        loaded_only: bool = True,
    ) -> _Found:
        scope = read_scope(
            view,
            call.partitions,
            selection,
            growing=not call.ignore_growing,
            loaded_only=loaded_only,
        )
        version = self._reading.state.snapshot.version
        plan = await self._reading.plan(view, scope, version, deadline_s)
        if (recorder := current()) is not None:
            recorder.begin("do_query").attributes = {
                "collection": view.name,
                "segments": len(scope.segments),
                "segments_pruned": len(view.segments) - len(scope.segments),
                "growing": scope.growing,
                "readers": len(plan.assignment.groups),
                "filtered": bool(call.filter),
            }

        def request(units: Sequence[Unit], at: Moment) -> Query:
            return Query(
                at=plan.point(units, at),
                filter=call.filter,
                templates=call.templates,
                output=columns,
                limit=call.offset + call.limit if call.limit else 0,
                count=count,
            )

        gathered: Gathered[QueryPartial] = await self._reading.read(
            plan, request, moment, deadline_s, partial=call.allow_partial
        )
        partials = [partial for _, partial in gathered.served]
        coverage = coverage_of(plan, gathered.missing)
        if coverage is not None:
            self._reading.measures.partial_answers.inc()
        return _Found(partials, coverage)

    async def row_count(
        self, view: CollectionView, partitions: Sequence[str], timeout_s: float
    ) -> int:
        """Visible rows of a collection, loaded or not."""
        deadline_s = self._reading.deadline_s(timeout_s)
        call = QueryCall(
            database="",
            collection=view.name,
            partitions=tuple(partitions),
            consistency=ConsistencyLevel.STRONG,
        )
        moment = await self._reading.moment(call, view, deadline_s)
        found = await self._ask(
            call, view, None, moment, (), deadline_s, count=True, loaded_only=False
        )
        return found.total()


def _check(call: QueryCall, selection: Filter | None) -> None:
    if call.output == (COUNT,):
        if call.limit:
            raise InvalidParameter("count(*) takes no limit")
        return
    if COUNT in call.output:
        raise InvalidParameter(f"{COUNT} stands alone: output fields are {list(call.output)}")
    if selection is None and not call.limit:
        raise InvalidParameter(
            "empty expression should be used with limit: a query needs a filter or a limit"
        )
    if call.offset < 0 or call.limit < 0 or call.offset + call.limit > limits.MAX_QUERY_WINDOW:
        raise InvalidParameter(
            f"offset {call.offset} and limit {call.limit}: together they may be from 0 to "
            f"{limits.MAX_QUERY_WINDOW}"
        )


def _shaped(
    rows: pa.RecordBatch | None, view: CollectionView, output: OutputPlan
) -> pa.RecordBatch:
    """The rows with the planned columns only; an empty batch where no reader was asked."""
    if rows is None:
        whole = arrow_schema(view.schema)
        fields = [whole.field(name) for name in output.columns]
        return pa.RecordBatch.from_pylist([], schema=pa.schema(fields))
    return cut_dynamic(rows.select(list(output.columns)), output)
