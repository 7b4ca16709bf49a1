"""Calls to the leader of a log: found through membership, retried across a change of leader.

Invariant: a write or a DDL is repeated with the same token only, so that it is applied once.
Anything else is repeated only where the peer certainly did not take it: it never got a connection,
or said so; or where doing it twice is doing it once, as an import is, which brings its own ids.
"""

from __future__ import annotations

import asyncio

from mishards.cluster.membership import Membership
from mishards.core.errors import (
    DeadlineExceeded,
    MishardsError,
    NotLeader,
    NotReady,
    StorageError,
    Unavailable,
    Unreachable,
)
from mishards.core.ids import LogId, NodeId
from mishards.core.runtime import Runtime
from mishards.discovery.protocol import NodeInfo
from mishards.observability.tracing import current
from mishards.proxy.measures import ProxyMeasures
from mishards.proxy.traced import Asked, error_text, span_name
from mishards.rpc.messages import (
    AllocateTimestamp,
    Compact,
    DdlOnce,
    Flush,
    GetCompaction,
    ImportCollections,
    Message,
    NewestTimestamp,
    Reply,
    Write,
)
from mishards.rpc.protocol import Channel, Transport

_FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 0.5
_LEAST_CALL_S = 0.005
_SUSPECT_S = 1.0
_TAKEOVER_S = 5.0
"""So long a write waits for another leader than the one that storage failed. After that, writers
that cannot lead are asked why."""
_LOOK_S = 0.1
_REPEATABLE = (
    Write,
    DdlOnce,
    Flush,
    Compact,
    GetCompaction,
    NewestTimestamp,
    AllocateTimestamp,
    ImportCollections,
)


class Leaders:
    """The ways to the leaders of all logs. Any thread."""

    def __init__(
        self,
        runtime: Runtime,
        transport: Transport,
        membership: Membership,
        measures: ProxyMeasures,
    ) -> None:
        self._measures = measures
        self._runtime = runtime
        self._transport = transport
        self._membership = membership
        self._clients: dict[LogId, LeaderClient] = {}

    def of(self, log_id: LogId) -> LeaderClient:
        """The way to the leader of one log."""
        if (client := self._clients.get(log_id)) is None:
            client = self._clients[log_id] = LeaderClient(
                self._runtime, self._transport, self._membership, log_id, self._measures
            )
        return client


class LeaderClient:
    """A way to whichever node leads the log."""

    def __init__(
        self,
        runtime: Runtime,
        transport: Transport,
        membership: Membership,
        log_id: LogId,
        measures: ProxyMeasures | None = None,
    ) -> None:
        self._measures = measures or ProxyMeasures()
        self._runtime = runtime
        self._transport = transport
        self._membership = membership
        self._log_id = log_id

    def channel(self) -> Channel | None:
        """The channel to the leader; None while none is known."""
        node = self._membership.leader(self._log_id)
        return None if node is None else self._transport.channel(node.address)

    async def call(self, message: Message, timeout_s: float) -> Reply:
        """The leader's answer; waits and tries again while there is none.

        Raises:
            DeadlineExceeded: no leader answered in time.
            MishardsError: what the leader raised.
        """
        began = self._runtime.monotonic_s()
        deadline = began + timeout_s
        pause = _FIRST_PAUSE_S
        last: MishardsError = NotReady(f"log {self._log_id} has no leader")
        refused: set[NodeId] = set()
        # What nobody can answer in time is not asked: why there is no leader tells more.
        while (remaining := deadline - self._runtime.monotonic_s()) > _LEAST_CALL_S:
            late = deadline - remaining - began > _TAKEOVER_S
            node = self._membership.view.leader(self._log_id, refused)
            if node is None and late and isinstance(message, Write):
                node = self._some_writer()
            refused.clear()
            if node is not None:
                try:
                    return await self._ask(node, message, remaining)
                except (NotLeader, NotReady) as error:
                    last = error
                    refused.add(node.id)
                except StorageError as error:
                    # A leader whose storage fails is followed by another, if there is one.
                    if late or not error.retriable or not isinstance(message, Write):
                        raise
                    last = error
                    refused.add(node.id)
                except Unavailable as error:
                    # A dead leader stays in the registry for a while, beside its successor.
                    self._membership.suspect(node.id, _SUSPECT_S)
                    if not isinstance(message, _REPEATABLE) and not isinstance(error, Unreachable):
                        raise
                    last = error
            self._measures.leader_retries.inc()
            if (recorder := current()) is not None:
                recorder.event("retry", cause=error_text(last))
            pause_s = pause * self._runtime.random.uniform(0.5, 1)
            remaining = deadline - self._runtime.monotonic_s()
            await self._runtime.sleep(max(0.0, min(pause_s, remaining)))
            pause = min(2 * pause, _LONGEST_PAUSE_S)
            remaining = deadline - self._runtime.monotonic_s()
            await self._membership.refresh(min(remaining, _LONGEST_PAUSE_S))
        raise DeadlineExceeded(f"no leader answered within {timeout_s:g} s: {last.message}")

    def _some_writer(self) -> NodeInfo | None:
        writers = [node for node in self._membership.view.nodes if "writer" in node.roles]
        return self._runtime.random.choice(writers) if writers else None

    async def _ask(self, node: NodeInfo, message: Message, timeout_s: float) -> Reply:
        """The answer of one node; given up when another is known to lead.

        Raises:
            Unavailable: that came first; the node may still do what it was asked to.
        """
        channel = self._transport.channel(node.address)
        recorder, trace, asked = current(), "", None
        if recorder is not None:
            span = recorder.open(span_name(message, node.address))
            trace, asked = recorder.traceparent(span), Asked(recorder, span)
        call = asyncio.ensure_future(channel.call(message, timeout_s=timeout_s, traceparent=trace))
        if asked is not None:
            call.add_done_callback(asked)
        try:
            while not (await asyncio.wait((call,), timeout=_LOOK_S))[0]:
                now = self._membership.leader(self._log_id)
                if now is not None and now.id != node.id:
                    raise Unavailable(f"{now.id} leads log {self._log_id}, no longer {node.id}")
            return await call
        finally:
            call.cancel()
