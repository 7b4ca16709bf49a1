"""Compaction of one log's collections: what the policy says is due, a bounded part of the time,
and what clients ask for, at once.

Invariants: one compaction at a time, so no segment is in two; what is due follows from metadata and
files alone, so nothing is forgotten over restarts. A collection whose compaction failed is left
alone for a pause that doubles, and holds up no other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from mishards.core.errors import MetadataConflict, MishardsError
from mishards.core.ids import MOST_LOGS, CollectionId, LogId, Timestamp
from mishards.core.runtime import Runtime
from mishards.metadata.snapshot import CollectionView, MetadataSnapshot
from mishards.rpc.messages import CompactionStatus
from mishards.storage.protocol import ObjectStore
from mishards.writer.build_job import Builder
from mishards.writer.catalog import Catalog
from mishards.writer.compaction_edit import settle_edit
from mishards.writer.compaction_policy import CompactionLimits, choose, choose_all
from mishards.writer.compaction_requests import CompactionRequest, CompactionRequests, PlanState
from mishards.writer.config import WriterConfig
from mishards.writer.construction import Construction
from mishards.writer.edit import Edit
from mishards.writer.inputs import Inputs
from mishards.writer.measures import WriterMeasures
from mishards.writer.merges import FreshIds, Merges
from mishards.writer.survey import Surveys

_log = logging.getLogger(__name__)
_MOST_DOUBLINGS = 8


class Compactor:
    """Compacts for one reign. From the loop's thread."""

    def __init__(
        self,
        runtime: Runtime,
        config: WriterConfig,
        store: ObjectStore,
        catalog: Catalog,
        builder: Builder,
        construction: Construction,
        fresh: FreshIds,
        log_id: LogId,
        now: Callable[[], Timestamp],
        measures: WriterMeasures,
    ) -> None:
        """`now`: see `Merges`."""
        inputs = Inputs(runtime, store, construction)
        self._runtime = runtime
        self._config = config
        self._catalog = catalog
        self._log_id = log_id
        self._surveys = Surveys(runtime, config, inputs, builder)
        self._merges = Merges(
            runtime, config, store, catalog, inputs, builder, construction, fresh, now, measures
        )
        self._fresh = fresh
        self._requests = CompactionRequests()
        self._quiet: dict[CollectionId, CollectionView] = {}
        self._failures: dict[CollectionId, tuple[int, float]] = {}
        self._last = CollectionId(0)
        self._wake = asyncio.Event()

    async def request(
        self, collection: CollectionId, *, deletes_only: bool = False, target_bytes: int = 0
    ) -> Timestamp:
        """Compact a collection as soon as may be, whatever the share; the request's id, which
        tells the log."""
        first = await self._fresh(MOST_LOGS)
        request = CompactionRequest(
            id=Timestamp(first + (self._log_id - first) % MOST_LOGS),
            collection=collection,
            deletes_only=deletes_only,
            target_bytes=target_bytes,
        )
        self._requests.add(request)
        self._wake.set()
        return request.id

    def status(self, request_id: Timestamp) -> CompactionStatus:
        """How a request goes; see `CompactionRequests`."""
        return self._requests.status(request_id)

    async def run(self) -> None:
        """Compact until cancelled."""
        while True:
            self._wake.clear()
            while (request := self._requests.take()) is not None:
                await self._answer(request)
            begun_s = self._runtime.monotonic_s()
            pause_s = self._config.compaction_check_s
            if (share := self._config.compaction_share) > 0 and await self._advance():
                took_s = self._runtime.monotonic_s() - begun_s
                pause_s = took_s * (1 / share - 1)
            await self._rest(pause_s)

    async def _rest(self, pause_s: float) -> None:
        try:
            await self._runtime.timeout(self._woken(), pause_s)
        except TimeoutError:
            return

    async def _woken(self) -> None:
        await self._wake.wait()

    async def _advance(self) -> bool:
        """Look at one collection that has changed; False where none has."""
        if (view := self._next()) is None:
            return False
        try:
            if not await self._compact(view):
                self._quiet[view.id] = view
            self._failures.pop(view.id, None)
        except MetadataConflict as error:
            _log.info("a compaction came too late: %s", error)
        except MishardsError as error:
            self._failed(view, error)
        return True

    def _next(self) -> CollectionView | None:
        collections = self._catalog.snapshot.collections
        self._surveys.keep(collections)
        for held in (self._quiet, self._failures):
            for gone in held.keys() - collections.keys():
                del held[gone]
        now_s = self._runtime.monotonic_s()
        # In turn, beginning after the last one: none waits for another that is always busy.
        for view in sorted(collections.values(), key=lambda one: (one.id <= self._last, one.id)):
            due = view.meta.log_id == self._log_id and self._quiet.get(view.id) is not view
            if due and self._failures.get(view.id, (0, 0.0))[1] <= now_s:
                self._last = view.id
                return view
        return None

    async def _compact(self, view: CollectionView) -> bool:
        """Do the first of what is due; False when nothing is."""
        thorough = len(view.meta.deletes) >= max(2, self._config.delete_files_max // 2)
        loads = await self._surveys.loads(view, thorough=thorough)
        due = choose(loads, self._limits())
        if due:
            newest = self._catalog.snapshot.collections.get(view.id)
            if newest is not None:
                await self._merges.run(due[0], newest, self._limits())
            return True
        return thorough and await self._settle(view)

    async def _settle(self, view: CollectionView) -> bool:
        """Let go of deletes that hide nothing."""
        clean, folded = self._surveys.clean(view), view.meta.checkpoint
        edits: list[Edit] = []

        def change(snapshot: MetadataSnapshot) -> Edit:
            edits.append(settle_edit(snapshot, view, clean, folded))
            return edits[-1]

        await self._catalog.commit(change)
        return not edits[-1].is_empty

    async def _answer(self, request: CompactionRequest) -> None:
        """Do what a client asked for."""
        try:
            view = self._catalog.snapshot.collections.get(request.collection)
            if view is None:
                return
            loads = await self._surveys.loads(view, thorough=True)
            limits = self._limits(request.target_bytes)
            chosen = choose_all(loads, limits, deletes_only=request.deletes_only)
            request.plans = [PlanState(one) for one in chosen]
            for plan in request.plans:
                await self._do(plan, request, limits)
            await self._settle_all(request.collection)
        except MishardsError as error:
            _log.warning("compaction %d failed: %s", request.id, error)
        finally:
            request.is_done = True

    async def _do(
        self, plan: PlanState, request: CompactionRequest, limits: CompactionLimits
    ) -> None:
        plan.failed = True
        view = self._catalog.snapshot.collections.get(request.collection)
        if view is None:
            return
        try:
            plan.outputs = await self._merges.run(plan.compaction, view, limits)
        except MishardsError as error:
            _log.warning("a plan of compaction %d failed: %s", request.id, error)
        else:
            plan.failed = False

    async def _settle_all(self, collection: CollectionId) -> None:
        if (view := self._catalog.snapshot.collections.get(collection)) is not None:
            await self._surveys.loads(view, thorough=True)
            await self._settle(view)

    def _failed(self, view: CollectionView, error: MishardsError) -> None:
        count = self._failures.get(view.id, (0, 0.0))[0] + 1
        pause_s = self._config.build_retry_s * 2 ** min(count - 1, _MOST_DOUBLINGS)
        self._failures[view.id] = (count, self._runtime.monotonic_s() + pause_s)
        _log.warning(
            "compaction of collection %r failed, next try in %.0f s: %s", view.name, pause_s, error
        )

    def _limits(self, target_bytes: int = 0) -> CompactionLimits:
        config = self._config
        return CompactionLimits(
            target_rows=config.segment_max_rows,
            target_bytes=target_bytes or config.segment_max_bytes,
            fan=config.compaction_fan,
            dead_share=config.compaction_dead_share,
        )
