"""From a `ReadPoint` to the `ReadState` it asks for: at once, or after waiting and opening."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from mishards.core.errors import (
    CorruptObject,
    DeadlineExceeded,
    MishardsError,
    NotReady,
    StalePlan,
    SystemFault,
)
from mishards.core.ids import CollectionId, LogId, SegmentId, Timestamp
from mishards.core.runtime import Runtime
from mishards.core.timestamps import physical_ms
from mishards.observability.tracing import Recorder
from mishards.reader.collection import CollectionState
from mishards.reader.growing_reads import GrowingSpan
from mishards.reader.holdings import Holdings
from mishards.reader.measures import ReaderMeasures
from mishards.reader.opened import READS, OpenSegment
from mishards.reader.plan import ReadState
from mishards.reader.progress import Progress
from mishards.reader.segments import SegmentOpener
from mishards.rpc.messages import ReadPoint, UnitFailure

_MOST_MISSES = 50
"""That are recorded one by one."""
CatchUp = Callable[[LogId], Awaitable[None]]
"""Reads a log on storage to its end, and applies it. Concurrent calls share runs."""

_LOOK_S = 0.2
"""How often a read that waits looks whether the leader's stream still stands."""


class ReadStates:
    """Takes states of the holdings for reads. `at_once`: any thread; the rest: the loop's."""

    def __init__(
        self,
        runtime: Runtime,
        holdings: Holdings,
        opener: SegmentOpener,
        progress: Progress,
        catch_up: CatchUp | None,
        streamed: Callable[[LogId], bool],
        measures: ReaderMeasures,
    ) -> None:
        self._measures = measures
        self._clock = runtime.monotonic_s
        self._runtime = runtime
        self._holdings = holdings
        self._opener = opener
        self._progress = progress
        self._catch_up = catch_up
        self._streamed = streamed

    def at_once(self, at: ReadPoint) -> ReadState | None:
        """The state, where everything it needs is here already.

        Raises:
            StalePlan: it will never be here again.
        """
        progress = self._progress
        if at.from_storage or not progress.has(at.log, at.read_ts, at.version):
            return None
        state = self._state(at.collection)
        if state.deletes.lagging(progress.log(at.log).timestamp):
            return None
        segments = []
        for segment_id in at.segments:
            if (opened := state.open.get(segment_id)) is None:
                return None
            segments.append(opened)
        _check_deletes(state, at, progress.log(at.log).timestamp)
        return _read_state(state, at, _read_ts(at, at.read_ts), segments, ())

    async def reached(
        self, at: ReadPoint, deadline_s: float, recorder: Recorder | None = None
    ) -> ReadState:
        """The state, once it is reached and its segments are open.

        Args:
            recorder: records what has to be waited for, where the caller asked for it.

        Raises:
            StalePlan: it will never be here again.
            DeadlineExceeded: it was not reached in time.
            NotReady, StorageError: the log on storage cannot be read to its end.
        """
        progress, measures = self._progress, self._measures
        began_s = self._clock()
        read_ts = at.read_ts
        if recorder is not None:
            self._note_waits(recorder, at)
        if at.from_storage:
            if self._catch_up is None:
                raise NotReady("this reader cannot read the log on storage by itself")
            await self._catch_up(at.log)
            read_ts = max(read_ts, progress.log(at.log).timestamp)
            await progress.reach(at.log, Timestamp(0), at.version, deadline_s)
        else:
            await self._come_to(at, deadline_s)
        here_s = self._clock()
        measures.wait.observe(here_s - began_s)
        state = self._state(at.collection)
        if recorder is not None:
            _note_misses(recorder, state, at)
        segments, failures = await self._open_all(state, at.segments)
        await self._opener.settle(state, progress.log(at.log).timestamp)
        measures.open.observe(self._clock() - here_s)
        _check_deletes(state, at, progress.log(at.log).timestamp)
        return _read_state(state, at, _read_ts(at, read_ts), segments, failures)

    async def _come_to(self, at: ReadPoint, deadline_s: float) -> None:
        """Wait until the log has been applied as far as `at` asks for.

        The leader's stream says when that is. Where the stream is broken, the end of the log on
        storage does: whatever a leader said it had, is there. Raises as `reached`.
        """
        progress, catch_up = self._progress, self._catch_up
        while not progress.has(at.log, at.read_ts, at.version):
            if catch_up is not None and not self._streamed(at.log) and await self._caught_up(at):
                await progress.reach(at.log, Timestamp(0), at.version, deadline_s)
                return
            look_s = min(deadline_s, self._runtime.monotonic_s() + _LOOK_S)
            try:
                await progress.reach(at.log, at.read_ts, at.version, look_s)
            except DeadlineExceeded:
                if look_s >= deadline_s:
                    raise

    async def _caught_up(self, at: ReadPoint) -> bool:
        """Read storage to its end; whether that is as far as `at` asks for."""
        assert self._catch_up is not None
        try:
            await self._catch_up(at.log)
        except CorruptObject:
            raise
        except SystemFault:
            return False
        return not at.claimed or self._progress.log(at.log).timestamp >= at.read_ts

    def _note_waits(self, recorder: Recorder, at: ReadPoint) -> None:
        progress = self._progress
        if at.from_storage:
            recorder.begin("read_log")
            recorder.event("log_read_from_storage", log=at.log)
        elif not progress.has(at.log, at.read_ts, at.version):
            applied = progress.log(at.log).timestamp
            recorder.begin("wait_for_log")
            recorder.event(
                "log_wait",
                log=at.log,
                behind_ms=max(0, physical_ms(at.read_ts) - physical_ms(applied)),
                version=progress.version,
                needed_version=at.version,
            )

    async def segment(self, collection: CollectionId, segment_id: SegmentId) -> OpenSegment:
        """One segment, open. Raises as `SegmentOpener.open`."""
        return await self._opener.open(self._state(collection), segment_id)

    def state(self, collection: CollectionId) -> CollectionState:
        return self._state(collection)

    def _state(self, collection: CollectionId) -> CollectionState:
        state = self._holdings.states.get(collection)
        if state is None:
            raise StalePlan(
                f"collection {collection} is not in metadata version "
                f"{self._progress.version} of this reader"
            )
        return state

    async def _open_all(
        self, state: CollectionState, wanted: Sequence[SegmentId]
    ) -> tuple[list[OpenSegment], tuple[UnitFailure, ...]]:
        segments, failures = [], []
        held = sum(segment_id in state.open for segment_id in wanted)
        self._measures.hits.inc(held)
        self._measures.misses.inc(len(wanted) - held)
        for segment_id in wanted:
            try:
                segments.append(await self._opener.open(state, segment_id))
            except StalePlan:
                raise
            except MishardsError as error:
                failures.append(UnitFailure(segment_id, type(error).__name__, error.message))
        return segments, tuple(failures)


def _note_misses(recorder: Recorder, state: CollectionState, at: ReadPoint) -> None:
    missing = [segment for segment in at.segments if segment not in state.open]
    recorder.leave()
    if missing:
        recorder.begin("open_segments").attributes = {"segments": len(missing)}
    for segment in missing[:_MOST_MISSES]:
        recorder.event("cache_miss", segment=segment)


def _read_ts(at: ReadPoint, reached: Timestamp) -> Timestamp:
    """Nothing before the checkpoint can be told apart any more: sealing forgets it."""
    return max(reached, at.checkpoint)


def _check_deletes(state: CollectionState, at: ReadPoint, applied: Timestamp) -> None:
    """A read at a checkpoint that the log has not been applied to takes the deletes in between
    from files; and which of them a segment needs, only the metadata that names it says.

    Raises:
        StalePlan: newer metadata does not name a segment any more.
    """
    if at.checkpoint <= applied:
        return
    if any(segment_id not in state.view.segments for segment_id in at.segments):
        raise StalePlan(f"segments of collection {at.collection} were replaced")


def _read_state(
    state: CollectionState,
    at: ReadPoint,
    read_ts: Timestamp,
    segments: list[OpenSegment],
    failures: tuple[UnitFailure, ...],
) -> ReadState:
    number = next(READS)
    for opened in segments:
        opened.last_read = number
    growing = None
    if at.growing:
        partitions = at.partitions or state.partitions
        span = GrowingSpan(state.rows.view, at.checkpoint, read_ts, partitions, at.expired)
        if span.rows:
            growing = span
    return ReadState(state.view, read_ts, segments, growing, failures, at.expired)
