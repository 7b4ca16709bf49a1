"""One listening address for all roles of a node: each message goes to the role that answers it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from mishards.core.errors import NotReady
from mishards.core.ids import EntrySeq, LogId, MetadataVersion, NodeId
from mishards.discovery.protocol import NodeInfo
from mishards.rpc.messages import (
    Condition,
    Drill,
    DrillBegun,
    Examine,
    Fetch,
    Introduce,
    Introduction,
    LookAgain,
    Message,
    NodeStatus,
    Query,
    Reply,
    Search,
    SlowTraces,
    StatusReply,
)
from mishards.rpc.protocol import CallContext, Handler

_READS = (Search, Query, Fetch, LookAgain)
_OF_THE_NODE = (NodeStatus, Introduce, Examine, Drill)


class RoleDispatcher:
    """Implements `Handler` over the roles of a node."""

    answers_inline = True

    def __init__(self, node_id: NodeId) -> None:
        self._node_id = node_id
        self.introduce: Callable[[], NodeInfo] | None = None
        """What the node says of itself; None until it can."""
        self.examine: Callable[[], Awaitable[Condition]] | None = None
        """What its process and machine are like; None until it can tell."""
        self.drill: Callable[[Drill], Awaitable[DrillBegun]] | None = None
        """Lets the node come to harm; None before it has started."""
        self._roles: dict[str, Handler] = {}

    def add(self, role: str, handler: Handler) -> None:
        self._roles[role] = handler

    def _role(self, message: Message) -> Handler:
        if isinstance(message, SlowTraces):
            name = "proxy"
        else:
            name = "reader" if isinstance(message, _READS) else "writer"
        handler = self._roles.get(name)
        if handler is None:
            raise NotReady(f"node {self._node_id} is no {name}, or not yet")
        return handler

    async def handle(self, message: Message, context: CallContext) -> Reply:
        if isinstance(message, NodeStatus):
            return await self._status(message, context)
        if isinstance(message, Introduce):
            return self._introduction()
        if isinstance(message, Examine):
            return await self._condition()
        if isinstance(message, Drill):
            return await self._drill(message)
        return await self._role(message).handle(message, context)

    def handle_now(self, message: Message, traceparent: str = "") -> Reply | None:
        if isinstance(message, _OF_THE_NODE):
            return None
        return self._role(message).handle_now(message, traceparent)

    def stream(self, message: Message, context: CallContext) -> AsyncIterator[Reply]:
        return self._role(message).stream(message, context)

    def _introduction(self) -> Introduction:
        if self.introduce is None:
            raise NotReady(f"node {self._node_id} is starting")
        return Introduction(node=self.introduce())

    async def _condition(self) -> Condition:
        if self.examine is None:
            raise NotReady(f"node {self._node_id} is starting")
        return await self.examine()

    async def _drill(self, message: Drill) -> DrillBegun:
        if self.drill is None:
            raise NotReady(f"node {self._node_id} is starting")
        return await self.drill(message)

    async def _status(self, message: NodeStatus, context: CallContext) -> StatusReply:
        """What the roles say of themselves, as one answer."""
        answers = [await role.handle(message, context) for role in self._roles.values()]
        return merged_status(self._node_id, [a for a in answers if isinstance(a, StatusReply)])


def merged_status(node_id: NodeId, parts: Sequence[StatusReply]) -> StatusReply:
    """One status of several roles; where they differ, the furthest counts, but for what others
    wait for: there the one that is furthest behind does."""
    newest = max((part.version for part in parts), default=MetadataVersion(0))
    merged = StatusReply(node=node_id, roles=(), version=newest)
    for part in parts:
        merged = StatusReply(
            node=node_id,
            roles=tuple(dict.fromkeys(merged.roles + part.roles)),
            version=merged.version,
            applied_seq=_least(part.applied_seq, merged.applied_seq),
            applied_ts={**part.applied_ts, **merged.applied_ts},
            oldest_version=min(
                (v for v in (part.oldest_version, merged.oldest_version) if v is not None),
                default=None,
            ),
            epoch={**part.epoch, **merged.epoch},
            segments={**part.segments, **merged.segments},
            growing_rows={**part.growing_rows, **merged.growing_rows},
            details={**part.details, **merged.details},
            quarantined={**part.quarantined, **merged.quarantined},
            recall={**part.recall, **merged.recall},
        )
    return merged


def _least(one: dict[LogId, EntrySeq], other: dict[LogId, EntrySeq]) -> dict[LogId, EntrySeq]:
    return {log: min(found[log] for found in (one, other) if log in found) for log in one | other}
