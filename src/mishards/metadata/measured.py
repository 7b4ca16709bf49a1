"""Measures what a metadata store is asked for, and whether it answers.

Invariants: what the store answers or raises is passed on as it is; a commit that is refused, since
another came first, is an answer and no failure.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import TypeVar

from mishards.core.errors import MetadataConflict
from mishards.core.ids import Epoch, LogId, MetadataVersion
from mishards.core.runtime import Runtime
from mishards.metadata.protocol import Changes, MetadataStore
from mishards.observability.instruments import Metrics
from mishards.observability.metrics import METADATA_OPERATIONS, METADATA_SECONDS, METADATA_UP

T = TypeVar("T")


class MeasuredMetadata:
    """Passes everything on and measures it."""

    def __init__(self, store: MetadataStore, metrics: Metrics, runtime: Runtime) -> None:
        self._store = store
        self._metrics = metrics
        self._runtime = runtime
        self._up = metrics.gauge(METADATA_UP)

    async def open(self, cluster_id: str) -> str:
        return await self._timed("open", self._store.open(cluster_id))

    async def version(self) -> MetadataVersion:
        return await self._timed("version", self._store.version())

    async def changes(self, since: MetadataVersion) -> Changes:
        return await self._timed("changes", self._store.changes(since))

    async def begin_epoch(self, log_id: LogId, epoch: Epoch) -> None:
        await self._timed("begin_epoch", self._store.begin_epoch(log_id, epoch))

    async def epoch(self, log_id: LogId) -> Epoch:
        return await self._timed("epoch", self._store.epoch(log_id))

    async def commit(
        self,
        log_id: LogId,
        epoch: Epoch,
        expected: MetadataVersion,
        puts: dict[str, bytes],
        deletes: tuple[str, ...] = (),
    ) -> Changes:
        work = self._store.commit(log_id, epoch, expected, puts, deletes)
        return await self._timed("commit", work)

    async def restore(self, changes: Changes, epochs: Mapping[LogId, Epoch]) -> None:
        await self._timed("restore", self._store.restore(changes, epochs))

    async def prune(self, before: MetadataVersion) -> None:
        await self._timed("prune", self._store.prune(before))

    async def close(self) -> None:
        await self._store.close()

    async def _timed(self, operation: str, work: Awaitable[T]) -> T:
        began_s = self._runtime.monotonic_s()
        outcome = "failed"
        try:
            found = await work
            outcome = "ok"
            return found
        except MetadataConflict:
            outcome = "refused"
            raise
        finally:
            self._up.set(outcome != "failed")
            self._metrics.counter(METADATA_OPERATIONS, operation, outcome).inc()
            taken_s = self._runtime.monotonic_s() - began_s
            self._metrics.histogram(METADATA_SECONDS, operation).observe(taken_s)
