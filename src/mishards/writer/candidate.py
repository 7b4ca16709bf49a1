"""A writer that stands by for a log, and leads it whenever it is elected.

Invariants: at most one reign at a time; calls are answered by the reign, all others with
`NotLeader`, so that whoever asks looks for the leader again. A reign that ended, for whatever
reason, gives its lease up and is followed by standing by again. A damaged log ends the candidate:
`failed` says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

from mishards.cluster.campaign import LOOKS_PER_LEASE, Campaign
from mishards.cluster.peers import Peers
from mishards.cluster.publishing import LogPublisher
from mishards.core.errors import (
    CorruptObject,
    DiskFull,
    Fenced,
    InvalidParameter,
    MishardsError,
    NotLeader,
    NotReady,
    StorageError,
    SystemFault,
)
from mishards.core.ids import Epoch, LogId, MetadataVersion, NodeId
from mishards.core.runtime import Runtime
from mishards.discovery.election import NOBODY
from mishards.discovery.protocol import NodeInfo
from mishards.log.store import LogStore
from mishards.metadata.protocol import MetadataStore
from mishards.observability.instruments import Metrics, Reading
from mishards.observability.metrics import (
    EPOCH,
    LEADER,
    REIGN_ENDS,
    REIGNS,
    TAKEOVER_SECONDS,
    CounterOf,
)
from mishards.rpc.messages import (
    Attend,
    HandedOver,
    HandOver,
    Message,
    NodeStatus,
    PrepareTakeover,
    Reply,
    StatusReply,
    TakeOver,
)
from mishards.rpc.protocol import CallContext, Transport
from mishards.storage.protocol import ObjectStore
from mishards.writer.build_job import Builder
from mishards.writer.config import WriterConfig
from mishards.writer.measures import WriterMeasures
from mishards.writer.standby import Standby
from mishards.writer.vigil import Vigil
from mishards.writer.writer import Writer

_log = logging.getLogger(__name__)
_PREPARE_S = 2.0
_TAKEOVER_S = 5.0


class Candidate:
    """Implements `rpc.protocol.Handler`. All methods: from the loop's thread, but `handle_now`."""

    def __init__(
        self,
        runtime: Runtime,
        config: WriterConfig,
        store: ObjectStore,
        metadata: MetadataStore,
        transport: Transport,
        campaign: Campaign,
        node_id: NodeId,
        log_id: LogId,
        *,
        peers: Peers,
        others: Callable[[], Sequence[NodeInfo]],
        on_role: Callable[[], Awaitable[None]],
        unrivalled: bool = False,
        builder: Builder | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        """A candidate that does nothing yet.

        Args:
            peers: are asked what they still read before anything is removed.
            others: the other writers of the cluster, as far as is known.
            on_role: awaited when leading has begun or ended.
            unrivalled: something else keeps other writers away from the log.
            metrics: what it measures itself with.
        """
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._runtime = runtime
        self._config = config
        self._store = store
        self._metadata = metadata
        self._transport = transport
        self._campaign = campaign
        self._node_id = node_id
        self._log_id = log_id
        self._peers = peers
        self._others = others
        self._on_role = on_role
        self._unrivalled = unrivalled
        self._builder = builder
        self._measures = WriterMeasures(metrics, runtime.monotonic_s)
        self._standby = self._new_standby()
        self._standby_turn = asyncio.Lock()
        self._writer: Writer | None = None
        self._why_not: MishardsError = NotReady(f"writer {node_id!r} has not started")
        self._called = asyncio.Event()
        self._led = asyncio.Event()
        self._prepared = asyncio.Event()
        self._not_before_s = 0.0
        self._handing_over = False
        self._leaving: asyncio.Task[HandedOver] | None = None
        self._ended = NOBODY
        self._vigil = Vigil(
            runtime,
            transport,
            log_id,
            self._holder,
            self._on_end,
            config.lease_s / LOOKS_PER_LEASE,
        )
        self._task: asyncio.Task[None] | None = None

    @property
    def leads(self) -> bool:
        return self._writer is not None and self._writer.leads

    @property
    def epoch(self) -> Epoch:
        """Of the reign; 0 while there is none."""
        return self._writer.epoch if self._writer is not None and self.leads else Epoch(0)

    async def start(self) -> None:
        """Lead at once where the log is free, else stand by; then go on in the background.

        A standby has tried to read the log to its end when this returns: who waits for it before
        ending the leader has one that can take over at once.

        Raises:
            CorruptObject: the log is damaged; names the object.
            StorageError, MetadataUnavailable: start again later.
        """
        self._why_not = NotLeader(f"writer {self._node_id!r} stands by")
        if await self._campaign.try_to_win():
            try:
                await self._lead()
            except Fenced as error:
                _log.info("%s stands by: %s", self._node_id, error.message)
                await self._campaign.leave()
        self._task = self._runtime.spawn(self._run(), f"candidacy of {self._node_id}")
        await self._prepared.wait()

    async def close(self) -> None:
        """Finish the calls in flight, end the reign, and give the lease up."""
        self._why_not = NotLeader(f"writer {self._node_id!r} is closed")
        if self._leaving is not None:
            await asyncio.gather(self._leaving, return_exceptions=True)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._end_reign()

    # --- calls ------------------------------------------------------------------------------

    async def handle(self, message: Message, context: CallContext) -> Reply:
        match message:
            case NodeStatus():
                return self.status()
            case PrepareTakeover():
                return await self._prepare()
            case TakeOver():
                return await self._take_over()
            case HandOver(to=heir):
                return await self.hand_over(heir)
        return await self._reigning().handle(message, context)

    def handle_now(self, message: Message, traceparent: str = "") -> Reply | None:
        return None if self._writer is None else self._writer.handle_now(message)

    def stream(self, message: Message, context: CallContext) -> AsyncIterator[Reply]:
        writer = self._reigning()
        return (
            self._attended(writer)
            if isinstance(message, Attend)
            else writer.stream(message, context)
        )

    async def _attended(self, writer: Writer) -> AsyncIterator[Reply]:
        yield writer.status()
        await writer.wait_fenced()

    def _reigning(self) -> Writer:
        if self._writer is None:
            raise type(self._why_not)(self._why_not.message)
        return self._writer

    def readings(self) -> Iterator[Reading]:
        """What metrics say of it, leading or not."""
        labels = (str(self._log_id),)
        yield Reading(LEADER, self.leads, labels)
        yield Reading(EPOCH, self.epoch, labels)
        if self._writer is not None:
            yield from self._writer.readings()

    def _count(self, metric: CounterOf, *labels: str) -> None:
        self._measures.metrics.counter(metric, str(self._log_id), *labels).inc()

    def status(self) -> StatusReply:
        """How it is, leading or not."""
        if self._writer is not None:
            return self._writer.status()
        return StatusReply(
            node=self._node_id,
            roles=("writer",),
            version=MetadataVersion(self._standby.snapshot.version),
            details={f"log {self._log_id}": self._why_not.message},
        )

    # --- handover ---------------------------------------------------------------------------

    async def hand_over(self, to: NodeId = NOBODY) -> HandedOver:
        """Let a standby lead before this node stops; calls meanwhile are told to look again.

        Args:
            to: the standby; empty for whichever is ready first.

        Raises:
            NotLeader: this node leads nothing.
            InvalidParameter: `to` is no other writer of the cluster.
            NotReady: no standby is ready; this node goes on leading.
        """
        self._reigning()
        if self._handing_over:
            raise NotReady(f"writer {self._node_id!r} is handing over already")
        self._handing_over = True
        # Half of it is worse than none: a reign that is over would keep its lease. So it goes on
        # when whoever asked for it goes.
        self._leaving = asyncio.ensure_future(self._hand_over(to))
        self._leaving.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(self._leaving)

    async def _hand_over(self, to: NodeId) -> HandedOver:
        try:
            heir = await self._ready_heir(to)
            return await self._leave_to(heir)
        finally:
            self._handing_over = False

    async def _ready_heir(self, to: NodeId) -> NodeInfo:
        """The first standby that has read the log to its end just now."""
        heirs = [peer for peer in self._others() if to in (NOBODY, peer.id)]
        if to and not heirs:
            known = ", ".join(peer.id for peer in self._others()) or "none"
            raise InvalidParameter(f"{to!r} is no standby of log {self._log_id}; there is {known}")
        for heir in heirs:
            try:
                await self._transport.channel(heir.address).call(
                    PrepareTakeover(log=self._log_id), timeout_s=_PREPARE_S
                )
            except MishardsError as error:
                _log.warning("standby %s is not ready: %s", heir.id, error.message)
            else:
                return heir
        raise NotReady(f"log {self._log_id} has no standby that is ready")

    async def _leave_to(self, heir: NodeInfo) -> HandedOver:
        writer, self._writer = self._reigning(), None
        self._led.clear()
        self._count(REIGN_ENDS, "handover")
        began_s = self._runtime.monotonic_s()
        self._why_not = NotLeader(f"writer {self._node_id!r} handed over to {heir.id!r}")
        await writer.retire(self._why_not)
        await self._campaign.leave(heir.id)
        try:
            await self._transport.channel(heir.address).call(
                TakeOver(log=self._log_id), timeout_s=_TAKEOVER_S
            )
        except MishardsError as error:
            _log.warning("%s does not answer for taking over: %s", heir.id, error.message)
            raise NotReady(f"{heir.id!r} did not take over: {error.message}") from error
        finally:
            await self._on_role()
        paused_s = self._runtime.monotonic_s() - began_s
        _log.info("%s leads log %d after %.3f s", heir.id, self._log_id, paused_s)
        return HandedOver(leader=heir.id, paused_ms=1000 * paused_s)

    async def _prepare(self) -> StatusReply:
        """Read on to the end, so that little is left to read when it comes to leading."""
        if self._writer is None:
            async with self._standby_turn:
                if self._writer is None:
                    await self._standby.keep_up()
        return self.status()

    async def _take_over(self) -> StatusReply:
        """Look at the lease now; answers when this node leads."""
        self._not_before_s = 0.0
        self._called.set()

        async def led() -> None:
            await self._led.wait()

        try:
            await self._runtime.timeout(led(), _TAKEOVER_S)
        except TimeoutError:
            raise NotReady(f"writer {self._node_id!r} was not elected") from None
        return self.status()

    # --- reigns -----------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            while True:
                if self._writer is not None:
                    self._prepared.set()
                    await self._reign(self._writer)
                await self._stand_by()
                try:
                    await self._lead()
                except CorruptObject:
                    raise
                except SystemFault as error:
                    _log.warning("%s cannot lead: %s", self._node_id, error.message)
                    await self._step_aside(error)
        except CorruptObject as error:
            await self._campaign.leave()
            _log.error("%s can neither lead nor stand by: %s", self._node_id, error.message)
            self.failed.set_exception(error)
            self.failed.exception()  # asyncio need not say it again where nobody waits for it
        finally:
            self._prepared.set()

    def _holder(self) -> NodeInfo | None:
        """The other node that holds the lease, as far as is known."""
        return next((peer for peer in self._others() if peer.id == self._campaign.holder), None)

    def _on_end(self, leader: NodeId) -> None:
        _log.info("the process of %s, which led log %d, has ended", leader, self._log_id)
        self._ended = leader
        self._called.set()

    async def _stand_by(self) -> None:
        """Read along until elected."""
        vigil = self._runtime.spawn(self._vigil.run(), f"vigil of {self._node_id}")
        try:
            await self._wait_for_election()
        finally:
            vigil.cancel()
            await asyncio.gather(vigil, return_exceptions=True)

    async def _wait_for_election(self) -> None:
        said = ""
        read_s = -self._config.standby_poll_s
        while True:
            now_s = self._runtime.monotonic_s()
            ended, self._ended = self._ended, NOBODY
            if now_s >= self._not_before_s and await self._campaign.try_to_win(ended):
                return
            if now_s - read_s >= self._config.standby_poll_s:
                read_s = now_s
                said = await self._read_along(said)
                self._prepared.set()
            await self._pause(self._config.lease_s / LOOKS_PER_LEASE)

    async def _read_along(self, said: str) -> str:
        try:
            async with self._standby_turn:
                await self._standby.keep_up()
        except CorruptObject:
            raise
        except SystemFault as error:
            if not said:
                _log.warning("standby %s cannot read on: %s", self._node_id, error.message)
            return error.message
        return ""

    async def _pause(self, seconds: float) -> None:
        """Wait, or less when called to take over."""

        async def called() -> None:
            await self._called.wait()

        with contextlib.suppress(TimeoutError):
            await self._runtime.timeout(called(), seconds)
        self._called.clear()

    async def _lead(self) -> None:
        """Begin a reign; the lease is this node's."""
        began_s = self._runtime.monotonic_s()
        standby, self._standby = self._standby, self._new_standby()
        writer = Writer(
            self._runtime,
            self._config,
            self._store,
            self._metadata,
            LogPublisher(self._runtime, self._log_id),
            self._node_id,
            self._log_id,
            self._builder,
            peers=self._peers,
            unrivalled=self._unrivalled,
            elected_s=lambda: self._campaign.held_s,
            measures=self._measures,
        )
        try:
            async with self._standby_turn:
                await writer.start(standby)
        except BaseException:
            await writer.close()
            raise
        self._writer = writer
        self._led.set()
        self._count(REIGNS)
        taken_s = self._runtime.monotonic_s() - began_s
        self._measures.metrics.histogram(TAKEOVER_SECONDS).observe(taken_s)
        _log.info("%s leads log %d", self._node_id, self._log_id)
        await self._on_role()

    async def _reign(self, writer: Writer) -> None:
        """Keep the lease until the reign ends by itself or the lease is lost."""
        keeping = self._runtime.spawn(self._campaign.keep(), f"lease of {self._node_id}")
        fenced = self._runtime.spawn(writer.wait_fenced(), f"reign of {self._node_id}")
        try:
            await asyncio.wait((keeping, fenced), return_when=asyncio.FIRST_COMPLETED)
            if not fenced.done():
                writer.step_down(keeping.result())
        finally:
            for task in (keeping, fenced):
                task.cancel()
            await asyncio.gather(keeping, fenced, return_exceptions=True)
        if writer is self._writer:  # not handed over
            self._count(REIGN_ENDS, "lost")
            await self._step_aside(writer.refusal)

    async def _step_aside(self, error: MishardsError) -> None:
        """End the reign, and let others try first."""
        # Who asks has to learn when it is storage that keeps everybody from leading.
        kinds: tuple[type[MishardsError], ...] = (DiskFull, StorageError)
        kind = next((one for one in kinds if isinstance(error, one)), NotLeader)
        self._why_not = kind(f"writer {self._node_id!r} stands by: {error.message}")
        await self._end_reign()
        self._not_before_s = self._runtime.monotonic_s() + self._config.lease_s / 2

    async def _end_reign(self) -> None:
        writer, self._writer = self._writer, None
        self._led.clear()
        if writer is not None:
            await writer.close()
        await self._campaign.leave()
        if writer is not None:
            await self._on_role()

    def _new_standby(self) -> Standby:
        log = LogStore(self._store, self._log_id)
        return Standby(self._runtime, self._config, log, self._log_id, self._metadata)
