"""A search: prepare, plan, choose the moment, scatter, merge, fetch the output fields.

`search_now` runs the same steps in the calling thread where one reader of this process has all
that is needed; `search` is for every other case.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from mishards.core.columns import decode_batch
from mishards.core.errors import StalePlan
from mishards.proxy.calls import SearchAnswer, SearchCall
from mishards.proxy.consistency import Moment
from mishards.proxy.merge import Hits, concat_batches, hits_of, merge_hits, skip_hits
from mishards.proxy.output import cut_dynamic
from mishards.proxy.prepare import PreparedSearch, SearchPreparer, check_queries
from mishards.proxy.reading import Reading, ReadPlan
from mishards.routing.protocol import Unit
from mishards.rpc.messages import Fetch, ReadPoint, Search, SearchPartial

_PLANS = 3
"""How often a read is planned anew when readers have moved on from its snapshot."""


class SearchPath:
    """The proxy's searches."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._preparer = SearchPreparer()

    def search_now(self, call: SearchCall) -> SearchAnswer | None:
        """The answer where one reader of this process has everything at hand, else None."""
        snapshot = self._reading.state.snapshot
        view = snapshot.resolve(call.database, call.collection)
        prepared = self._preparer.prepare(call, view)
        check_queries(call, prepared.field)
        local = self._reading.local_plan(view, prepared.scope, snapshot.version)
        if local is None:
            return None
        node, point = local
        moment = self._reading.moment_now(call, view)
        if moment is None or moment.from_storage:
            return None
        message = _message(call, prepared, point(moment), prepared.output.columns)
        partial = self._reading.channel(node).call_now(message)
        if not isinstance(partial, SearchPartial) or partial.failures:
            return None
        hits = skip_hits(hits_of(partial), call.offset)
        return _answer(prepared, hits, hits.columns, moment)

    async def search(self, call: SearchCall) -> SearchAnswer:
        """The answer from whichever readers hold the segments."""
        deadline_s = self._reading.deadline_s(call.timeout_s)
        for attempt in range(_PLANS):
            try:
                return await self._search_once(call, deadline_s)
            except StalePlan:
                if attempt == _PLANS - 1:
                    raise
                await self._reading.catch_up(deadline_s)
        raise AssertionError("unreachable")

    async def _search_once(self, call: SearchCall, deadline_s: float) -> SearchAnswer:
        reading = self._reading
        snapshot = reading.state.snapshot
        view = snapshot.resolve(call.database, call.collection)
        prepared = self._preparer.prepare(call, view)
        check_queries(call, prepared.field)
        moment = await reading.moment(call, view, deadline_s)
        plan = await reading.plan(view, prepared.scope, snapshot.version, deadline_s)
        columns = prepared.output.columns if plan.readers == 1 else ()

        def request(units: Sequence[Unit]) -> Search:
            return _message(call, prepared, plan.point(units, moment), columns)

        partials: list[SearchPartial] = await reading.scatter(plan, request, deadline_s)
        hits = merge_hits(
            partials, call.nq, prepared.k, smaller_is_closer=prepared.metric.smaller_is_closer
        )
        hits = skip_hits(hits, call.offset)
        rows = hits.columns
        if prepared.output.columns and not columns:
            rows = await self._fetch(plan, prepared, hits, deadline_s)
        return _answer(prepared, hits, rows, moment)

    async def _fetch(
        self, plan: ReadPlan, prepared: PreparedSearch, hits: Hits, deadline_s: float
    ) -> pa.RecordBatch | None:
        """The output columns of the winners, in their order, from readers that hold them."""
        if len(hits.units) == 0:
            return None
        growing = -plan.view.id
        routed = np.where(hits.units < 0, growing, hits.units)
        order: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = []

        def request(units: Sequence[Unit]) -> Fetch:
            places = np.flatnonzero(np.isin(routed, np.asarray(units)))
            return Fetch(
                collection=plan.view.id,
                version=plan.version,
                units=hits.units[places].tobytes(),
                offsets=hits.offsets[places].tobytes(),
                output=prepared.output.columns,
            )

        units = tuple(int(unit) for unit in np.unique(routed))
        answers = await self._reading.fetch(plan, units, request, deadline_s)
        batches = []
        for asked, rows in answers:
            order.append(np.flatnonzero(np.isin(routed, np.asarray(asked))))
            batches.append(decode_batch(rows.columns))
        places = np.empty(len(routed), np.int64)
        places[np.concatenate(order)] = np.arange(len(routed))
        return concat_batches(batches).take(pa.array(places))


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
    prepared: PreparedSearch, hits: Hits, rows: pa.RecordBatch | None, moment: Moment
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
    )
