"""The logs that a node may lead: a candidate for each, behind one handler.

Invariants: a message goes to the candidate of the log it names; DDL, which names none, to that of
the log whose leader answers DDL. A node that leads more than its share hands logs over, one at a
time, when it has seen the same surplus twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

from mishards.cluster.balance import Move, surplus
from mishards.core.errors import MishardsError, NotLeader
from mishards.core.ids import DDL_LOG, Epoch, LogId, NodeId
from mishards.core.runtime import Runtime
from mishards.discovery.election import NOBODY
from mishards.discovery.protocol import NodeInfo
from mishards.observability.instruments import Reading
from mishards.rpc.messages import Message, NodeStatus, Reply
from mishards.rpc.protocol import CallContext
from mishards.server.dispatch import merged_status
from mishards.writer.candidate import Candidate

_log = logging.getLogger(__name__)


class Writers:
    """Implements `rpc.protocol.Handler`. All methods: from the loop's thread, but `handle_now`."""

    def __init__(
        self,
        runtime: Runtime,
        node_id: NodeId,
        candidates: Mapping[LogId, Candidate],
        others: Callable[[], Sequence[NodeInfo]],
        balance_s: float,
    ) -> None:
        """Candidates that have not started.

        Args:
            others: the other writers of the cluster, as far as is known.
            balance_s: how often to look whether this node leads more than its share.
        """
        self._runtime = runtime
        self._node_id = node_id
        self._candidates = dict(candidates)
        self._others = others
        self._balance_s = balance_s
        self._balancing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start all candidates, one after the other.

        Raises:
            CorruptObject, StorageError, MetadataUnavailable: as `Candidate.start`.
        """
        for candidate in self._candidates.values():
            await candidate.start()
        if len(self._candidates) > 1:
            self._balancing = self._runtime.spawn(self._balance(), f"balance of {self._node_id}")

    async def _balance(self) -> None:
        seen: Move | None = None
        while True:
            await self._runtime.sleep(self._balance_s)
            move = surplus(self.reigns(), self._others())
            if move is None or move != seen:
                seen = move
                continue
            seen = None
            try:
                await self.hand_over(move.log, move.to)
            except MishardsError as error:
                _log.info("log %d stays with %s: %s", move.log, self._node_id, error.message)

    async def close(self) -> None:
        """End all reigns."""
        if self._balancing is not None:
            self._balancing.cancel()
            await asyncio.gather(self._balancing, return_exceptions=True)
        for candidate in self._candidates.values():
            await candidate.close()

    async def failed(self) -> None:
        """Return once a candidate has ended by itself; raise what ended it."""
        futures = [candidate.failed for candidate in self._candidates.values()]
        done, _ = await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
        for future in done:
            future.result()

    def reigns(self) -> dict[LogId, Epoch]:
        """The logs led, and their epochs."""
        return {
            log_id: candidate.epoch
            for log_id, candidate in self._candidates.items()
            if candidate.leads
        }

    def readings(self) -> Iterator[Reading]:
        """What metrics say of all candidates."""
        for candidate in self._candidates.values():
            yield from candidate.readings()

    async def hand_over(self, log_id: LogId, to: NodeId = NOBODY) -> None:
        """Let a standby lead one log; as `Candidate.hand_over`."""
        await self._candidate(log_id).hand_over(to)

    async def leave(self) -> None:
        """Let standbys lead whatever this node leads, as far as there are any."""
        if self._balancing is not None:
            self._balancing.cancel()
        for log_id in self.reigns():
            try:
                await self.hand_over(log_id)
            except MishardsError as error:
                _log.warning(
                    "%s leaves log %d without handing over: %s",
                    self._node_id,
                    log_id,
                    error.message,
                )

    async def handle(self, message: Message, context: CallContext) -> Reply:
        if isinstance(message, NodeStatus):
            return merged_status(self._node_id, [c.status() for c in self._candidates.values()])
        return await self._of(message).handle(message, context)

    def handle_now(self, message: Message, traceparent: str = "") -> Reply | None:
        return self._of(message).handle_now(message)

    def stream(self, message: Message, context: CallContext) -> AsyncIterator[Reply]:
        return self._of(message).stream(message, context)

    def _of(self, message: Message) -> Candidate:
        return self._candidate(getattr(message, "log", DDL_LOG))

    def _candidate(self, log_id: LogId) -> Candidate:
        """Raises: NotLeader: this node is no candidate for the log."""
        if (candidate := self._candidates.get(log_id)) is None:
            raise NotLeader(f"{self._node_id!r} is no candidate for log {log_id}")
        return candidate
