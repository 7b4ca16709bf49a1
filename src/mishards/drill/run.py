"""One drill from its beginning to its end.

Invariants: the drill's own collection is dropped whatever happens, an interruption included; where
that cannot be done, its name is told. Storage that is kept away is given back when a drill ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, NamedTuple, TypeVar

import msgspec

from mishards.core.errors import InternalError, MishardsError, Unavailable
from mishards.core.ids import EntrySeq, MetadataVersion
from mishards.core.runtime import Runtime, SystemRuntime
from mishards.discovery.protocol import NodeInfo
from mishards.drill.figures import Moments, figures
from mishards.drill.kinds import Order
from mishards.drill.log import ReadLog
from mishards.drill.losses import lost_rows
from mishards.drill.prospect import Prospect, tell
from mishards.drill.report import Report, findings_of, judged
from mishards.drill.shadow import Shadow
from mishards.drill.watch import Watch
from mishards.metadata.models import ConsistencyLevel
from mishards.metadata.snapshot import CollectionView, MetadataSnapshot
from mishards.rpc.messages import Drill
from mishards.server.config import Config
from mishards.server.seams import Seams, open_seams
from mishards.storage.pins import pinned
from mishards.testing.history import Operation

_LEAST_PAUSE_S = 0.02
_MOST_CALLS = 4_000
"""About: the time that the check of a history takes grows with the square of its length."""
_NEWS_S = 0.5
"""How old a leader's word of the time may be when a proxy hears it, beyond a lease."""
_NEED_THE_END = (ConsistencyLevel.STRONG, ConsistencyLevel.BOUNDED)

T = TypeVar("T")
Say = Callable[[str], None]


class _Suffered(NamedTuple):
    """What happened: to whom, when, and how long until all nodes were back."""

    node: str
    moments: Moments
    back_s: float | None


async def run_drill(config: Config, order: Order, found: Prospect, say: Say) -> Report:
    """Make traffic, let the fault come, watch, check.

    Args:
        say: told what goes on, for people.

    Raises:
        MishardsError: the drill could not be done, and so says nothing of the cluster.
    """
    runtime = SystemRuntime(threads=8)
    try:
        seams = await open_seams(config, runtime)
        try:
            return await _Drill(config, order, found, seams, say).run()
        finally:
            await seams.close()
    finally:
        await runtime.close()


class _Drill:
    def __init__(
        self, config: Config, order: Order, found: Prospect, seams: Seams, say: Say
    ) -> None:
        self._config = config
        self._order = order
        self._found = found
        self._seams = seams
        self._runtime: Runtime = seams.runtime
        self._say = say
        number = self._runtime.random.getrandbits(32)
        self._token = f"{number:08x}"
        self._shadow = Shadow(found.uris, order.authority, self._token, number)
        self._watch = Watch(seams, order, self._shadow.work)

    async def run(self) -> Report:
        left = ""
        try:
            report = await self._whole()
        finally:
            if left := await self._runtime.blocking(self._shadow.drop):
                self._say(f"collection {self._shadow.name} could not be dropped: {left}")
        if left:
            report = msgspec.structs.replace(report, left=self._shadow.name)
        return judged(report, self._order.seconds if self._order.everywhere else 0.0)

    async def _whole(self) -> Report:
        shadow, store = self._shadow, self._seams.store
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(pinned(store, self._runtime, f"drill-{self._token}"))
            stack.push_async_callback(self._runtime.blocking, shadow.stop)
            await self._blocking(shadow.create)
            self._say(f"made the collection {shadow.name}")
            view, trimmed = await self._view()
            log = ReadLog(store, self._runtime, view.meta.log_id, view.id)
            await log.begin(trimmed)
            reading = self._runtime.spawn(log.run(), "the drill's log")
            stack.callback(reading.cancel)
            await self._blocking(shadow.fill)
            suffered = await self._suffer()
            await self._blocking(shadow.stop)
            await self._blocking(shadow.work.read_all)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            await log.read()
            return await self._blocking(self._report, log, suffered)

    async def _blocking(self, work: Callable[..., T], *args: Any) -> T:
        """Run `work` off the loop; cancelled, return when it has come to its end."""
        running = asyncio.ensure_future(self._runtime.blocking(work, *args))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            self._shadow.interrupt()
            await asyncio.wait([running])
            raise

    async def _view(self) -> tuple[CollectionView, EntrySeq]:
        """The drill's collection, and the entry of its log before which there are none."""
        changes = await self._seams.metadata.changes(MetadataVersion(0))
        snapshot = MetadataSnapshot.empty().apply(changes)
        view = snapshot.collections.get(self._shadow.work.collection)
        if view is None:
            raise InternalError(f"{self._shadow.name} was made, and metadata does not name it")
        return view, snapshot.logs[view.meta.log_id].trimmed

    async def _suffer(self) -> _Suffered:
        """Traffic, calm, the fault, until all is well, and calm again."""
        order = self._order
        span_s = 2 * order.calm_s + order.seconds + 10
        pause_s = max(_LEAST_PAUSE_S, order.clients * span_s / _MOST_CALLS)
        begin_s = time.time()
        self._shadow.start(order.clients, pause_s)
        self._say(f"{order.clients} clients are at work")
        await self._watch.successes(begin_s)
        await self._runtime.sleep(order.calm_s)
        view, _ = await self._view()
        targets = await self._watch.targets(view)
        node = "all nodes" if order.everywhere else targets[0].id
        before = await self._watch.serving()
        self._say(order.described(node))
        fault_s = time.time()
        try:
            back = self._runtime.spawn(self._watch.back(targets, before), "nodes come back")
            await self._begin(targets)
            await self._runtime.sleep(order.seconds)
            back_s = await back
        finally:
            if order.kind.name == "cut-storage":
                await self._end(targets)
        await self._watch.successes(max(fault_s + order.seconds, fault_s + (back_s or 0.0)))
        well_s = time.time()
        await self._runtime.sleep(order.calm_s)
        moments = Moments(begin_s=begin_s, fault_s=fault_s, well_s=well_s, end_s=time.time())
        return _Suffered(node, moments, back_s)

    async def _begin(self, targets: Sequence[NodeInfo]) -> None:
        order = self._order
        seconds = 0.0 if order.kind.ends else order.seconds
        message = Drill(fault=order.fault, token=self._token, seconds=seconds)
        for target in targets:
            # Of one that dies the answer may be lost: what becomes of it is watched in any case.
            with contextlib.suppress(Unavailable):
                await tell(self._seams, [target], message)

    async def _end(self, targets: Sequence[NodeInfo]) -> None:
        """Give storage back, as when the fault's time is over."""
        for target in targets:
            with contextlib.suppress(MishardsError):
                await tell(self._seams, [target], Drill(fault="none", token=self._token))

    def _report(self, log: ReadLog, suffered: _Suffered) -> Report:
        order, work = self._order, self._shadow.work
        config = self._config
        staleness_s = config.proxy.staleness_s + config.writer.lease_s + _NEWS_S
        operations = work.history.operations
        reads = [one for one in operations if one.is_read and not one.must_succeed]
        writes = [one for one in operations if one.is_write]
        return Report(
            drill=order.kind.name,
            cluster=self._found.cluster,
            node=suffered.node,
            fault=order.described(suffered.node),
            seconds=order.seconds,
            reads=figures(reads, suffered.moments, self._is_hopeless),
            writes=figures(writes, suffered.moments, self._is_hopeless),
            back_s=suffered.back_s,
            rows=sum(len(one.rows) for one in writes if one.outcome == "ok"),
            lost_rows=len(lost_rows(work.history, log.entries, work.collection)),
            findings=findings_of(work.broken(log.entries, staleness_s)),
        )

    def _is_hopeless(self, one: Operation) -> bool:
        """Whether the call needs storage that no node has: to write, or, where no leader is left,
        to know how far the log goes."""
        return self._order.everywhere and (one.is_write or one.level in _NEED_THE_END)
