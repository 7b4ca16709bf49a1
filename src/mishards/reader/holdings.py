"""All that a reader holds, kept in step with the log and with metadata.

Invariants: changed by the loop's thread alone; `states` and `snapshot` may be read by any. What
newer metadata no longer names is kept for `retention_s` before it is let go, so that reads planned
on older metadata end well.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable

from mishards.core.errors import MishardsError
from mishards.core.ids import (
    CollectionId,
    EntrySeq,
    LogId,
    MetadataVersion,
    SegmentId,
    Timestamp,
)
from mishards.core.runtime import Runtime
from mishards.log.entry import Entry, Mutation
from mishards.log.store import LogStore
from mishards.metadata.protocol import Changes
from mishards.metadata.snapshot import CollectionView, MetadataSnapshot
from mishards.reader.cache import CacheFull
from mishards.reader.collection import CollectionState
from mishards.reader.config import ReaderConfig
from mishards.reader.pending import PendingMutations
from mishards.reader.recovery import LogRecovery
from mishards.reader.segments import SegmentOpener

Applied = Callable[[LogId], Timestamp]
"""How far a log has been applied."""

_PER_ROUND = 8
_log = logging.getLogger(__name__)


class Holdings:
    """Collections with their growing rows, deletes and open segments."""

    def __init__(
        self,
        runtime: Runtime,
        config: ReaderConfig,
        opener: SegmentOpener,
        log: Callable[[LogId], LogStore],
        serves: Callable[[CollectionView], frozenset[SegmentId]],
    ) -> None:
        self._runtime = runtime
        self._retention_s = config.retention_s
        self._opener = opener
        self._serves = serves
        self._pending = PendingMutations(config.pending_bytes)
        self._log = log
        self._applied_seq: dict[LogId, EntrySeq] = {}
        self._outdated: deque[tuple[float, CollectionState, Timestamp]] = deque()
        self._unnamed: deque[tuple[float, CollectionState, SegmentId, MetadataVersion]] = deque()
        self._recovering: set[CollectionId] = set()
        self._cold: set[CollectionId] = set()
        self._round: list[CollectionId] = []
        self._warming: set[CollectionId] = set()
        self._named_version = MetadataVersion(0)
        self.snapshot = MetadataSnapshot.empty()
        self.states: dict[CollectionId, CollectionState] = {}
        self.oldest_version = MetadataVersion(0)
        """Whatever metadata of this and later versions does not name is not held open."""

    def start(self, snapshot: MetadataSnapshot) -> None:
        """Begin with the metadata of `snapshot`."""
        self.snapshot = snapshot
        for collection in snapshot.collections:
            self._renew(collection, _nothing_applied)
        self._note_oldest()

    def apply_entry(self, entry: Entry) -> None:
        """Make an entry's rows and deletes readable."""
        for mutation in entry.mutations:
            state = self.states.get(mutation.collection)
            if state is None:
                self._pending.add(mutation, entry.seq)
            else:
                state.apply(mutation)
        self._applied_seq[entry.log_id] = entry.seq

    def apply_changes(self, changes: Changes, applied: Applied) -> None:
        """Follow metadata."""
        snapshot = self.snapshot.apply(changes)
        if snapshot is self.snapshot:
            return
        self._named_version = self.snapshot.version
        self.snapshot = snapshot
        for collection in _touched(changes, self.states, snapshot):
            self._renew(collection, applied)
        self._note_oldest()

    async def begin_again(self, log_id: LogId, applied: Timestamp) -> None:
        """Take over what the newest metadata has sealed after `applied`; of that log, nothing
        between that and what is applied next will come.

        Raises:
            StorageError: a file of deletes cannot be read; nothing is lost by trying again.
        """
        done: set[tuple[CollectionId, str]] = set()
        while todo := [
            (state, file)
            for state in self._of_log(log_id)
            for file in state.view.meta.deletes
            if file.max_ts > applied and (state.view.id, file.name) not in done
        ]:
            for state, file in todo:
                await self._opener.apply(state, file)
                done.add((state.view.id, file.name))
        # Nothing is awaited from here on: what is open has all deletes that files hold.
        for state in self._of_log(log_id):
            if unnamed := state.let_go():
                self._runtime.spawn(self._opener.release(unnamed), "close replaced segments")

    def _note_oldest(self) -> None:
        self.oldest_version = self._unnamed[0][3] if self._unnamed else self.snapshot.version

    def _renew(self, collection: CollectionId, applied: Applied) -> None:
        """Bring one collection in step with the newest metadata."""
        view = self.snapshot.collections.get(collection)
        state = self.states.get(collection)
        if view is None:
            self._pending.forget(collection)
            if state is not None:
                self._drop(state)
            return
        if state is not None:
            self._update(state, view, applied(view.meta.log_id))
        elif (lost := self._pending.lost_since(collection)) is not None:
            self._recovering.add(collection)
            self._runtime.spawn(self._recover(view, lost), f"read log of {collection} again")
        elif collection not in self._recovering:
            self._begin(view, self._pending.take(collection))
        self.warm(collection)

    def _begin(self, view: CollectionView, mutations: Iterable[Mutation]) -> None:
        """Hold a collection from now on, with what the log had of it before."""
        state = CollectionState(view)
        for mutation in mutations:
            state.apply(mutation)
        self.states[view.id] = state

    async def _recover(self, first: CollectionView, since: EntrySeq) -> None:
        """Begin with a collection whose mutations did not fit into memory while it was unknown."""
        collection, log_id = first.id, first.meta.log_id
        recovery = LogRecovery(
            self._runtime, self._log(log_id), self._pending, lambda: self._log_begins(log_id)
        )
        try:
            mutations = await recovery.mutations(
                collection, since, lambda: self._applied_seq.get(log_id, EntrySeq(0))
            )
        finally:
            self._recovering.discard(collection)
        if (view := self.snapshot.collections.get(collection)) is not None:
            self._begin(view, mutations)
            self.warm(collection)

    def _of_log(self, log_id: LogId) -> list[CollectionState]:
        return [one for one in self.states.values() if one.view.meta.log_id == log_id]

    def _log_begins(self, log_id: LogId) -> EntrySeq:
        """All that the log held before this entry is sealed in the metadata held here."""
        meta = self.snapshot.logs.get(log_id)
        return EntrySeq(1) if meta is None else meta.replay_from

    def _drop(self, state: CollectionState) -> None:
        """Forget a collection; what is being opened for it ends as `StalePlan`."""
        del self.states[state.view.id]
        self._cold.discard(state.view.id)
        segments = list(state.open)
        state.renew(CollectionView(state.view.meta))
        if segments:
            self._runtime.spawn(self._close(state, segments), "close dropped segments")

    def _update(self, state: CollectionState, view: CollectionView, applied: Timestamp) -> None:
        old = state.view
        state.renew(view)
        due_s = self._runtime.monotonic_s() + self._retention_s
        if view.meta.checkpoint > old.meta.checkpoint:
            self._outdated.append((due_s, state, view.meta.checkpoint))
        for segment_id in state.open:
            if not _is_named(view, segment_id):
                self._unnamed.append((due_s, state, segment_id, self._named_version))
        known = {file.name for file in old.meta.deletes}
        new = tuple(file for file in view.meta.deletes if file.name not in known)
        state.deletes.keep_to(view.meta.deletes)
        state.deletes.announce(new, applied)
        stale = [
            opened
            for opened in state.open.values()
            if opened.meta is not view.segments.get(opened.meta.id)
            or old.meta.indexes != view.meta.indexes
        ]
        if stale:
            self._runtime.spawn(self._attach(state), f"attach indexes of {view.id}")

    async def _attach(self, state: CollectionState) -> None:
        for opened in list(state.open.values()):
            await self._opener.attach(state, opened)

    def warm(self, collection: CollectionId) -> None:
        """Open in the background what this reader is to serve of a collection."""
        if collection not in self._warming and self._to_open(collection):
            self._warming.add(collection)
            self._runtime.spawn(self._warm(collection), f"open segments of {collection}")

    def _to_open(self, collection: CollectionId) -> list[SegmentId]:
        state = self.states.get(collection)
        if state is None or not state.view.meta.loaded_partitions:
            return []
        closed = [
            segment_id
            for segment_id in state.view.segments
            if segment_id not in state.open
            and _is_named(state.view, segment_id)
            and self._opener.quarantine.refusal((collection, segment_id)) is None
        ]
        if not closed:
            return []
        served = self._serves(state.view)
        return [segment_id for segment_id in closed if segment_id in served]

    async def _warm(self, collection: CollectionId) -> None:
        self._cold.discard(collection)
        tried: set[SegmentId] = set()
        try:
            while todo := [s for s in self._to_open(collection) if s not in tried]:
                tried.update(todo)
                for segment_id in todo:
                    state = self.states.get(collection)
                    if state is not None:
                        await self._open_ahead(state, segment_id)
        finally:
            self._warming.discard(collection)

    async def _open_ahead(self, state: CollectionState, segment_id: SegmentId) -> None:
        try:
            await self._opener.open(state, segment_id, ahead=True)
        except CacheFull as error:
            _log.debug("segment %d is opened when it is asked for: %s", segment_id, error)
        except MishardsError as error:
            if segment_id in state.view.segments:
                _log.warning("segment %d stays closed for now: %s", segment_id, error)
                self._cold.add(state.view.id)

    async def tidy(self) -> None:
        """Let go of what has outlived its retention, and open what should be open.

        A few collections are looked at each time: which segments this reader serves changes with
        the other readers too, and what could not be opened may be there now.
        """
        now = self._runtime.monotonic_s()
        while self._outdated and self._outdated[0][0] <= now:
            _, state, checkpoint = self._outdated.popleft()
            state.prune(checkpoint)
        while self._unnamed and self._unnamed[0][0] <= now:
            _, state, segment_id, _ = self._unnamed.popleft()
            if not _is_named(state.view, segment_id):
                await self._opener.close_segment(state, segment_id)
            self._note_oldest()
        if not self._round:
            self._round.extend(self.states)
        for collection in [self._round.pop() for _ in range(min(_PER_ROUND, len(self._round)))]:
            self.warm(collection)
        for collection in list(self._cold):
            self.warm(collection)
        await self._opener.retry(self.states)
        await self._opener.keep_files(self.snapshot)

    async def _close(self, state: CollectionState, segments: Iterable[SegmentId]) -> None:
        for segment_id in segments:
            await self._opener.close_segment(state, segment_id)


def _nothing_applied(log_id: LogId) -> Timestamp:
    return Timestamp(0)


def _is_named(view: CollectionView, segment_id: SegmentId) -> bool:
    """Whether metadata has the segment, and its partition is loaded."""
    meta = view.segments.get(segment_id)
    return meta is not None and meta.partition_id in view.meta.loaded_partitions


def _touched(
    changes: Changes, held: Iterable[CollectionId], snapshot: MetadataSnapshot
) -> set[CollectionId]:
    """The collections that changes are about."""
    if not changes.since:
        return {*held, *snapshot.collections}
    keys = [*(key for key, _ in changes.puts), *changes.deletes]
    parts = (key.split("/") for key in keys)
    return {CollectionId(int(p[1])) for p in parts if p[0] in ("collection", "segment")}
