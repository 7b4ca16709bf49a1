"""Notices at once that the process which leads a log has ended, by the end of a connection to it.

Invariants: a leader counts as ended only where it was met as the leader, its connection broke, and
its address refuses another one: somebody answers there for the machine, and nobody for the
process. One that is slow, stands still or is cut off is none of that; its lease tells. Nobody is
taken for ended twice without having been met again. This is a hint when to try, and no more: what
is written stays fenced by the log.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from typing import Any, cast

from mishards.core.errors import MishardsError, NobodyListens, Unavailable, Unreachable
from mishards.core.ids import LogId, NodeId
from mishards.core.runtime import Runtime
from mishards.discovery.protocol import NodeInfo
from mishards.rpc.messages import Attend
from mishards.rpc.protocol import Transport

_MOST_FAILURES = 5
_PAUSE_S = 0.01


class Vigil:
    """Watches one log's leader from another process. On the loop's thread."""

    def __init__(
        self,
        runtime: Runtime,
        transport: Transport,
        log_id: LogId,
        leader: Callable[[], NodeInfo | None],
        on_end: Callable[[NodeId], None],
        pause_s: float,
    ) -> None:
        """
        Args:
            leader: who is held to lead at this moment, where that is known.
            on_end: told of a leader whose process has ended.
            pause_s: between two attempts to meet a leader.
        """
        self._runtime = runtime
        self._transport = transport
        self._log_id = log_id
        self._leader = leader
        self._on_end = on_end
        self._pause_s = pause_s

    async def run(self) -> None:
        """Watch whoever leads, until cancelled."""
        while True:
            leader = self._leader()
            if leader is not None and await self._ended(leader):
                self._on_end(leader.id)
            await self._runtime.sleep(self._pause_s)

    async def _ended(self, leader: NodeInfo) -> bool:
        """Wait until `leader` leads no longer; whether its process has ended."""
        channel = self._transport.channel(leader.address)
        met = False
        failures = 0
        # Meeting it again opens another connection: that is what shows whether it lives.
        while failures < _MOST_FAILURES:
            try:
                stream = channel.stream(Attend(log=self._log_id))
                async with aclosing(cast("Any", stream)) as words:
                    async for _ in words:
                        met, failures = True, 0
            except NobodyListens:
                return met
            except Unreachable:
                return False
            except Unavailable:
                # The connections of a process that ends are closed one by one; the port it listens
                # on may take another one before its turn comes.
                failures += 1
                await self._runtime.sleep(_PAUSE_S)
            except MishardsError:
                return False
            else:
                return False
        return False
