"""The reader role: follows the log and metadata, and answers sub-requests.

Invariants: everything that changes state runs on the loop's thread; a read works on a `ReadState`
taken at one moment, on whatever thread. A unit that cannot be served is named in the answer's
failures; the others are answered.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import ParamSpec, TypeVar

import msgspec

from mishards.core.errors import MishardsError, Unimplemented
from mishards.core.ids import DDL_LOG, CollectionId, EntrySeq, LogId, NodeId, SegmentId, Timestamp
from mishards.core.runtime import Runtime
from mishards.log.entry import Entry
from mishards.log.store import LogStore
from mishards.metadata.in_use import VersionsInUse
from mishards.metadata.protocol import Changes
from mishards.metadata.snapshot import CollectionView, MetadataSnapshot
from mishards.observability.instruments import Histogram, Metrics, Reading
from mishards.observability.tracing import PeerTraces, Recorder
from mishards.reader.cache import FileCache
from mishards.reader.collection import CollectionState
from mishards.reader.config import ReaderConfig
from mishards.reader.damage import DamageReports, Report
from mishards.reader.exact import ExactSearches
from mishards.reader.fetch import fetch_rows, wanted_units
from mishards.reader.files import SegmentFiles
from mishards.reader.filters import FilterCache, MaskCache
from mishards.reader.holdings import Holdings
from mishards.reader.measures import CANCELLED, DEFECT, OK, ReaderMeasures
from mishards.reader.plan import ReadState
from mishards.reader.progress import Progress
from mishards.reader.query import Querier
from mishards.reader.readings import cache_readings, holding_readings, progress_readings
from mishards.reader.room import Room
from mishards.reader.search import Searcher
from mishards.reader.segments import SegmentOpener
from mishards.reader.states import CatchUp, ReadStates
from mishards.rpc.messages import (
    DamageReply,
    Fetch,
    LookAgain,
    Message,
    NodeStatus,
    Query,
    QueryPartial,
    Reply,
    Rows,
    Search,
    SearchPartial,
    StatusReply,
)
from mishards.rpc.protocol import CallContext
from mishards.storage.protocol import ObjectStore

P = ParamSpec("P")
T = TypeVar("T")

_FEW_ROWS = 1_000
"""A fetch of at most so many rows is answered in the calling thread."""


def _all_segments(view: CollectionView) -> frozenset[SegmentId]:
    return frozenset(view.segments)


Told = TypeVar("Told", SearchPartial, QueryPartial, Rows)


def _told(answer: Told, recorder: Recorder) -> Told:
    """An answer, which nobody else has yet, with what was recorded."""
    msgspec.structs.force_setattr(answer, "trace", recorder.given_back())
    return answer


class Reader:
    """Implements `rpc.protocol.Handler`, and is a sink of logs and of metadata.

    From the loop's thread, but `handle_now`.
    """

    def __init__(
        self,
        runtime: Runtime,
        config: ReaderConfig,
        store: ObjectStore,
        node_id: NodeId,
        *,
        serves: Callable[[CollectionView], frozenset[SegmentId]] = _all_segments,
        catch_up: CatchUp | None = None,
        streamed: Callable[[LogId], bool] = lambda _: True,
        report_damage: Report | None = None,
        scratch: Path,
        metrics: Metrics | None = None,
    ) -> None:
        """A reader that holds nothing yet.

        Args:
            serves: the segments of a collection that are opened before anyone asks for them.
            catch_up: reads a log on storage to its end, applying it here; for reads while it has
                no leader, or none that is heard.
            streamed: whether a leader of the log is heard.
            report_damage: tells the leader of a damaged index.
            scratch: folder of this node alone, for files that need not survive it.
            metrics: what it measures itself with.
        """
        self._runtime = runtime
        self._config = config
        self._node_id = node_id
        filters, masks = FilterCache(), MaskCache(config.mask_cache_bytes)
        cache = FileCache(
            runtime,
            Path(config.cache_dir) if config.cache_dir else scratch / "reader",
            config.cache_bytes,
            shared=bool(config.cache_dir),
        )
        self._caches = cache, masks
        self._measures = ReaderMeasures(metrics or Metrics(enabled=False))
        self._files = SegmentFiles(runtime, store, cache, verify=config.verify == "open")
        self._in_use = VersionsInUse(lambda: self._holdings.oldest_version)
        self._room = Room(self._files, lambda: self._holdings.states.values())
        self._opener = SegmentOpener(
            runtime,
            self._files,
            self._room,
            self._in_use,
            DamageReports(runtime, report_damage),
            config.quarantine_s,
        )
        self._holdings = Holdings(
            runtime, config, self._opener, lambda log_id: LogStore(store, log_id), serves
        )
        self._progress = Progress(runtime)
        self._states = ReadStates(
            runtime,
            self._holdings,
            self._opener,
            self._progress,
            catch_up,
            streamed,
            self._measures,
        )
        self._searcher = Searcher(filters, masks)
        self._exact = ExactSearches(runtime, masks, self._in_use.reads)
        self._querier = Querier(filters, masks)
        self._traces = PeerTraces(runtime.now_ns, node_id)
        self._tidying: asyncio.Task[None] | None = None
        self._loop_thread = 0

    def start(self, snapshot: MetadataSnapshot) -> None:
        """Begin with `snapshot`; each log is to be followed from its `replay_from` on."""
        self._loop_thread = threading.get_ident()
        for log in snapshot.logs.values():
            self._progress.applied(log.id, EntrySeq(log.replay_from - 1), Timestamp(0))
        self._holdings.start(snapshot)
        self._progress.informed(snapshot.version)
        self._tidying = self._runtime.spawn(self._tidy(), f"housekeeping of {self._node_id}")

    async def close(self) -> None:
        """End background work and all waiting reads, and let go of all files."""
        if self._tidying is not None:
            self._tidying.cancel()
            await asyncio.gather(self._tidying, return_exceptions=True)
        self._progress.close()
        await self._opener.close()
        for state in self._holdings.states.values():
            state.open.clear()
        self._files.close()

    async def _tidy(self) -> None:
        while True:
            await self._runtime.sleep(self._config.housekeeping_s)
            await self._holdings.tidy()

    # --- following ---------------------------------------------------------------------------

    def apply_entry(self, entry: Entry) -> None:
        """Apply the next entry of a log; one that was applied before is passed over."""
        if entry.seq <= self._progress.log(entry.log_id).seq:
            return
        self._holdings.apply_entry(entry)
        self._progress.applied(entry.log_id, entry.seq, entry.timestamp, entry.epoch)

    def apply_changes(self, changes: Changes) -> None:
        self._holdings.apply_changes(changes, self._applied)
        self._progress.informed(self._holdings.snapshot.version)

    def _applied(self, log_id: LogId) -> Timestamp:
        return self._progress.log(log_id).timestamp

    def apply_tick(self, log: LogId, seq: EntrySeq, timestamp: Timestamp) -> None:
        """Time went on; a tick that is ahead of the entries applied here says nothing yet."""
        if seq <= self._progress.log(log).seq:
            self._progress.applied(log, seq, timestamp)

    async def begin_again(self, log: LogId, next_seq: EntrySeq) -> None:
        """Go on with a log from `next_seq`: the newest metadata has sealed what lies between.

        Until that is taken over, reads go on as of before.
        """
        with self._in_use.held():
            await self._holdings.begin_again(log, self._applied(log))
        self._progress.applied(log, EntrySeq(next_seq - 1), Timestamp(0))

    # --- answering ---------------------------------------------------------------------------

    async def handle(self, message: Message, context: CallContext) -> Reply:
        if isinstance(message, NodeStatus):
            return self.status()
        code = DEFECT
        try:
            with self._in_use.held():
                reply = await self._reply(message, context)
            code = OK
            return reply
        except MishardsError as error:
            code = str(error.code)
            raise
        except asyncio.CancelledError:
            code = CANCELLED
            raise
        finally:
            self._measures.answered(message, code)

    async def _reply(self, message: Message, context: CallContext) -> Reply:
        match message:
            case Search():
                return await self._search(message, context)
            case Query():
                return await self._query(message, context)
            case Fetch():
                return await self._fetch(message, context)
            case LookAgain():
                return await self._look_again(message)
        raise Unimplemented(f"a reader does not answer {type(message).__name__}")

    def handle_now(self, message: Message, traceparent: str = "") -> Reply | None:
        use = self._in_use.begin()
        try:
            reply = self._reply_now(message, traceparent)
        except MishardsError as error:
            self._measures.answered(message, str(error.code))
            raise
        finally:
            self._in_use.end(use)
        if reply is not None:
            self._measures.answered(message)
        return reply

    def _reply_now(self, message: Message, traceparent: str) -> Reply | None:
        if type(message) is Search:
            recorder = self._traces.begin("search", traceparent) if traceparent else None
            state = None if message.exact else self._states.at_once(message.at)
            reply = None if state is None else self._search_now(state, message, recorder)
            if reply is not None:
                self._measures.hits.inc(len(message.at.segments))
            return reply
        if type(message) is Fetch and len(message.units) <= 8 * _FEW_ROWS:
            recorder = self._traces.begin("fetch", traceparent) if traceparent else None
            rows = self._fetch_now(message)
            return rows if rows is None or recorder is None else _told(rows, recorder)
        return None

    def stream(self, message: Message, context: CallContext) -> AsyncIterator[Reply]:
        raise Unimplemented(f"a reader does not stream {type(message).__name__}")

    def _search_now(
        self, state: ReadState, message: Search, recorder: Recorder | None
    ) -> SearchPartial | None:
        """The answer where it takes too little time to be worth another thread."""
        target = self._searcher.target(state.view, message)
        on_loop = threading.get_ident() == self._loop_thread
        allowed = self._config.inline_cost_us if on_loop else self._config.direct_cost_us
        if self._searcher.cost_us(state, target, message) > allowed:
            return None
        work, stage = self._searcher.search, self._measures.search
        partial = self._timed(stage, work, state, target, message, recorder)
        return partial if recorder is None else _told(partial, recorder)

    def _timed(
        self, stage: Histogram, work: Callable[P, T], /, *args: P.args, **named: P.kwargs
    ) -> T:
        """What `work` gives; how long that took is observed. Any thread."""
        clock = self._runtime.monotonic_s
        began_s = clock()
        found = work(*args, **named)
        stage.observe(clock() - began_s)
        return found

    async def _search(self, message: Search, context: CallContext) -> SearchPartial:
        recorder = self._traces.begin("search", context.traceparent)
        state = await self._states.reached(message.at, context.deadline_s, recorder)
        if message.exact:
            target = self._searcher.target(state.view, message)
            return await self._exact.search(state, target, message, context.deadline_s)
        now = self._search_now(state, message, recorder)
        if now is not None:
            return now
        target = self._searcher.target(state.view, message)
        if recorder is not None:
            recorder.begin("wait_for_thread")
        work, stage = self._searcher.search, self._measures.search
        partial: SearchPartial = await self._runtime.blocking(
            self._timed, stage, work, state, target, message, recorder
        )
        return partial if recorder is None else _told(partial, recorder)

    async def _query(self, message: Query, context: CallContext) -> QueryPartial:
        recorder = self._traces.begin("query", context.traceparent)
        state = await self._states.reached(message.at, context.deadline_s, recorder)
        if recorder is not None:
            recorder.begin("wait_for_thread")
        work, stage = self._querier.query, self._measures.query
        partial: QueryPartial = await self._runtime.blocking(
            self._timed, stage, work, state, message, recorder
        )
        return partial if recorder is None else _told(partial, recorder)

    def _fetch_now(self, message: Fetch) -> Rows | None:
        state = self._states.state(message.collection)
        segments = {}
        for unit in wanted_units(message).tolist():
            if unit > 0:
                if (opened := state.open.get(SegmentId(unit))) is None:
                    return None
                segments[SegmentId(unit)] = opened
        stage, view = self._measures.fetch, state.rows.view
        return self._timed(stage, fetch_rows, state.view, view, segments, message)

    async def _fetch(self, message: Fetch, context: CallContext) -> Rows:
        recorder = self._traces.begin("fetch", context.traceparent)
        await self._progress.reach(DDL_LOG, Timestamp(0), message.version, context.deadline_s)
        state = self._states.state(message.collection)
        segments = {}
        for unit in wanted_units(message).tolist():
            if unit > 0:
                segments[SegmentId(unit)] = await self._opener.open(state, SegmentId(unit))
        stage, view = self._measures.fetch, state.rows.view
        rows: Rows = await self._runtime.blocking(
            self._timed, stage, fetch_rows, state.view, view, segments, message
        )
        return rows if recorder is None else _told(rows, recorder)

    async def _look_again(self, message: LookAgain) -> DamageReply:
        """Segments that are not open are looked at when they are opened anyway."""
        state = self._states.state(message.collection)
        if message.segment not in state.open:
            return DamageReply(rebuilt=False, reason="the segment is not open here")
        error = await self._opener.look_again(state, message.segment)
        if error is None:
            return DamageReply(rebuilt=False, reason="the segment is sound where it is read")
        return DamageReply(rebuilt=False, refused=True, reason=error.message)

    def held(self, collection: CollectionId) -> CollectionState:
        """What is held of a collection.

        Raises:
            StalePlan: this reader does not know it, or no more.
        """
        return self._states.state(collection)

    def readings(self) -> Iterator[Reading]:
        """What metrics say of this reader, but for what it measures while it answers."""
        yield from progress_readings(self._progress, self._runtime.now_ms())
        yield from holding_readings(self._holdings.states.values(), self._opener)
        files, masks = self._caches
        yield from cache_readings(files, self._room, masks)

    def status(self) -> StatusReply:
        """What this reader holds, and how far it has come."""
        progress, states = self._progress, self._holdings.states
        logs = progress.logs()
        return StatusReply(
            node=self._node_id,
            roles=("reader",),
            version=progress.version,
            applied_seq={log_id: applied.seq for log_id, applied in logs.items()},
            applied_ts={log_id: applied.timestamp for log_id, applied in logs.items()},
            oldest_version=self._in_use.oldest(),
            epoch={log_id: applied.epoch for log_id, applied in logs.items()},
            segments={
                segment_id: opened.described()
                for state in states.values()
                for segment_id, opened in state.open.items()
            },
            growing_rows={c: rows for c, s in states.items() if (rows := s.growing_rows())},
            quarantined={key[1]: why for key, why in self._opener.quarantine.reasons().items()},
        )
