"""What exists only while a writer leads: the parts of one reign, and their background tasks.

Invariants: a defect in a background task is logged and the task goes on, but for group commit:
there the outcome of what was in flight is in doubt, so the reign ends.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import msgspec

from mishards.cluster.coalescing import Coalescer
from mishards.cluster.peers import Peers
from mishards.cluster.publishing import LogPublisher
from mishards.core.errors import Fenced, InternalError, MishardsError
from mishards.core.ids import DatabaseId, EntrySeq, LogId, NodeId, Timestamp
from mishards.core.runtime import Runtime
from mishards.log.entry import Entry, TornEntry
from mishards.log.store import LogStore
from mishards.metadata.models import DEFAULT_DATABASE, DatabaseMeta, LogMeta
from mishards.metadata.protocol import MetadataStore
from mishards.metadata.snapshot import MetadataSnapshot
from mishards.storage.pins import PinWatch
from mishards.storage.protocol import ObjectStore
from mishards.writer.build import IndexBuilds
from mishards.writer.build_job import Builder
from mishards.writer.catalog import Catalog
from mishards.writer.collect import GarbageCollector
from mishards.writer.commit import GroupCommit
from mishards.writer.compact import Compactor
from mishards.writer.config import WriterConfig
from mishards.writer.construction import Construction
from mishards.writer.damage import DamagedIndexes
from mishards.writer.edit import Edit
from mishards.writer.expire import Expiry
from mishards.writer.flush import Flusher, LogPosition
from mishards.writer.measures import WriterMeasures
from mishards.writer.takeover import Reign
from mishards.writer.trim import LogEnds, LogTrimmer

_log = logging.getLogger(__name__)

Cleaner = Callable[[], Coroutine[Any, Any, None]]

_RESTART_PAUSE_S = 1.0
_CERTAIN_FOR = 0.6
"""Of a lease: longer than the pause between two renewals."""
_MOST_FENCES = 3_000
"""Of some thousand takeovers: a leader of before all those is taken not to come back."""


class Leading:
    """One reign over a log. Used on the loop's thread; `newest` may be read from any."""

    def __init__(
        self,
        runtime: Runtime,
        config: WriterConfig,
        store: ObjectStore,
        metadata: MetadataStore,
        publisher: LogPublisher,
        log: LogStore,
        log_id: LogId,
        reign: Reign,
        builder: Builder,
        on_fenced: Callable[[MishardsError], None],
        elected_s: Callable[[], float],
        measures: WriterMeasures,
        peers: Peers | None = None,
    ) -> None:
        """`on_fenced` may be called from within the tasks that `stop` ends; without `peers`
        nothing is ever removed from storage."""
        self.epoch = reign.epoch
        self.newest = reign.timestamp
        """Timestamp of the last durable entry."""
        self.allocator = reign.allocator
        self.growing = reign.growing
        self.measures = measures
        self._runtime = runtime
        self._config = config
        self._publisher = publisher
        self._log_id = log_id
        self._tail = reign.tail
        self._fences = reign.fences
        self._log = log
        self._confirmation = Coalescer(self._confirm)
        self._confirmed_s = runtime.monotonic_s()
        self._elected_s = elected_s
        self._on_fenced = on_fenced
        self._tasks: list[asyncio.Task[Any]] = []
        self.construction = Construction()
        self.catalog = Catalog(
            metadata,
            publisher,
            log_id,
            reign.epoch,
            reign.snapshot,
            self._on_metadata,
            on_fenced,
        )
        self.commit = GroupCommit(
            config,
            log,
            log_id,
            reign.allocator,
            reign.tokens,
            reign.epoch,
            reign.next_seq,
            reign.ceiling,
            lambda: self.catalog.snapshot,
            self._on_durable,
            on_fenced,
            runtime.now_ns,
            measures,
        )
        self.flusher = Flusher(
            runtime,
            config,
            store,
            self.catalog,
            reign.growing,
            reign.allocator,
            self.commit.cover,
            log_id,
            self._position,
            self.construction,
            measures,
        )
        self.builds = IndexBuilds(
            runtime,
            config,
            store,
            self.catalog,
            builder,
            self.construction,
            self._fresh_id,
            log_id,
            measures,
        )
        self.compactor = Compactor(
            runtime,
            config,
            store,
            self.catalog,
            builder,
            self.construction,
            self._fresh_ids,
            log_id,
            lambda: Timestamp(self.newest),
            measures,
        )
        self.damage = DamagedIndexes(runtime, config, store, self.catalog)
        self._cleaning = self._cleaners(store, peers)

    def _cleaners(self, store: ObjectStore, peers: Peers | None) -> list[tuple[str, Cleaner]]:
        """What removes what is no longer wanted, by name."""
        runtime, config, catalog, log_id = self._runtime, self._config, self.catalog, self._log_id
        expiry = Expiry(runtime, config, catalog, log_id, lambda: Timestamp(self.newest))
        found: list[tuple[str, Cleaner]] = [("expiry", expiry.run)]
        if peers is not None:
            collector = GarbageCollector(
                runtime,
                config,
                store,
                catalog,
                self.construction,
                peers,
                log_id,
                self.measures,
            )
            trimmer = LogTrimmer(
                runtime,
                config,
                self._log,
                catalog,
                peers,
                PinWatch(store, runtime),
                log_id,
                self._log_ends,
                self.measures,
            )
            found += [("collection", collector.run), ("trimming", trimmer.run)]
        return found

    async def begin(self, node_id: NodeId) -> None:
        """Name the leader in the metadata, and start the background tasks.

        Raises:
            Fenced, MetadataUnavailable.
        """
        await self.catalog.commit(lambda snapshot: self._first_edit(snapshot, node_id))
        self._publisher.publish_tick(EntrySeq(self.commit.next_seq - 1), self.newest)
        works = [
            ("group commit", self._run_commit),
            ("flush", lambda: self._keep_running(self.flusher.run)),
            ("ticks", lambda: self._keep_running(self._tick)),
            ("compaction", lambda: self._keep_running(self.compactor.run)),
            ("watch", lambda: self._keep_running(self._watch)),
        ]
        works += [
            ("builds", lambda: self._keep_running(self.builds.run))
        ] * self._config.build_workers
        works += [(name, partial(self._keep_running, run)) for name, run in self._cleaning]
        self._tasks = [self._runtime.spawn(work(), f"writer: {name}") for name, work in works]

    def stop(self, error: MishardsError) -> None:
        """Answer everybody who waits with `error`, and let the background tasks end."""
        self.commit.refuse_all(error)
        self.flusher.refuse_all(error)
        for task in self._tasks:
            task.cancel()

    async def _fresh_id(self) -> Timestamp:
        return await self._fresh_ids(1)

    async def _fresh_ids(self, count: int) -> Timestamp:
        """The first of so many ids that no leader to come gives again."""
        first = self.allocator.allocate(count)
        await self.commit.cover(Timestamp(first + count - 1))
        return first

    async def confirmed_newest(self) -> Timestamp:
        """`newest`, of a moment after this call at which nobody else led.

        Raises:
            Fenced: another leader's entry is in the log.
            StorageError: it cannot be told.
        """
        await self._confirmation.run()
        return self.newest

    async def _confirm_lately(self) -> None:
        """Return once it is certain that nobody else led at a moment of the last part of a lease:
        by the election, or, where that cannot be reached, by the log.

        A process that stood still for longer finds here that it does. Raises as
        `confirmed_newest`.
        """
        certain_s = max(self._confirmed_s, self._elected_s())
        if self._runtime.monotonic_s() - certain_s > _CERTAIN_FOR * self._config.lease_s:
            await self._confirmation.run()

    async def _confirm(self) -> None:
        begun_s = self._runtime.monotonic_s()
        await self._look_ahead()
        self._confirmed_s = begun_s

    async def _look_ahead(self) -> None:
        seq = self.commit.next_seq
        while True:
            try:
                found = await self._log.read(seq)
            except TornEntry:
                seq = EntrySeq(seq + 1)
                continue
            if found is None:
                return
            if found[0].epoch != self.epoch:
                error = Fenced(
                    f"entry {seq} of log {self._log_id} is of epoch {found[0].epoch}; "
                    f"this writer's is {self.epoch}"
                )
                self._on_fenced(error)
                raise error
            seq = EntrySeq(seq + 1)

    async def ended(self) -> None:
        """Wait until the background tasks have ended, after `stop`."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _first_edit(self, snapshot: MetadataSnapshot, node_id: NodeId) -> Edit:
        """Name the new leader and what it builds; a new store also gets its default database."""
        old = snapshot.logs.get(self._log_id, LogMeta(id=self._log_id))
        log = msgspec.structs.replace(
            old,
            epoch=self.epoch,
            leader=node_id,
            build_min_rows=self._config.build_min_rows,
            fences=(*old.fences, *self._fences)[-_MOST_FENCES:],
        )
        if DEFAULT_DATABASE in snapshot.databases:
            return Edit((log,))
        now = self.allocator.allocate()
        return Edit((log, DatabaseMeta(id=DatabaseId(now), name=DEFAULT_DATABASE, created=now)))

    async def _run_commit(self) -> None:
        try:
            await self.commit.run()
        except Exception as error:
            self._on_fenced(InternalError(f"group commit failed: {error!r}"))
            raise

    async def _keep_running(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Supervise a background task: a defect is logged, and the task goes on."""
        while True:
            try:
                await work()
            except Exception:
                _log.exception("a background task of log %d failed", self._log_id)
            await self._runtime.sleep(_RESTART_PAUSE_S)

    async def _tick(self) -> None:
        """Carry the time on while nothing is written, and this is known to be the leader: whoever
        hears of the time takes what it has for all there is."""
        while True:
            await self._runtime.sleep(self._config.tick_s)
            if self.commit.is_idle:
                now = self.allocator.allocate()
                try:
                    await self._confirm_lately()
                    await self.commit.cover(now)
                except MishardsError as error:
                    _log.debug("the time stands still: %s", error)
                else:
                    self._publisher.publish_tick(EntrySeq(self.commit.next_seq - 1), now)

    async def _watch(self) -> None:
        """See to what time alone brings about."""
        while True:
            await self._runtime.sleep(self._config.flush_check_s)
            self.commit.settle()
            self.flusher.consider_all()
            try:
                await self.catalog.settle()
                if len(self.catalog.snapshot.logs) > 1:
                    await self.catalog.look()
            except MishardsError as error:
                _log.warning("metadata cannot be looked at: %s", error)

    def _on_durable(self, entry: Entry, raw: bytes) -> None:
        self.newest = entry.timestamp
        now_s = self._runtime.monotonic_s()
        self._tail.add(entry, len(raw), now_s)
        collections = self.catalog.snapshot.collections
        for mutation in entry.mutations:
            view = collections.get(mutation.collection)
            if view is not None and mutation.timestamp > view.meta.checkpoint:
                state = self.growing.add(entry.seq, mutation, now_s)
                self.flusher.consider(mutation.collection, state)
        self._publisher.publish_entry(entry, raw)

    def _on_metadata(self, snapshot: MetadataSnapshot) -> None:
        self.growing.keep_to(snapshot.collections, self._runtime.monotonic_s())
        self.builds.nudge()

    def _position(self) -> LogPosition:
        tokens_from = self._tail.tokens_from(self._runtime.monotonic_s())
        return LogPosition(Timestamp(self.newest), tokens_from)

    def _log_ends(self) -> LogEnds:
        tokens_from = self._tail.tokens_from(self._runtime.monotonic_s())
        growing_from = self.growing.first_seq(None, Timestamp(0))
        return LogEnds(
            replay_from=tokens_from if growing_from is None else min(growing_from, tokens_from),
            keep_from=self._tail.keep_from(),
            last=EntrySeq(self.commit.next_seq - 1),
        )
