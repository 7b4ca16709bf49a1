"""What the system asks of service discovery."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import msgspec

from mishards.core.ids import LogId, NodeId


class NodeInfo(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """A node as others see it.

    Attributes:
        roles: of `proxy`, `writer`, `reader`.
        address: of the internal protocol: `tcp://host:port`, `unix:///path` or `mem://name`.
        leads: ids of the logs it leads.
        epochs: of its reigns over them, in the same order; missing ones count as 0.
        ready: serving; a draining or starting node is not.
        edge: address of the Milvus API where the node is a proxy.
        http: address of its HTTP endpoint, where it has one.
    """

    id: NodeId
    roles: tuple[str, ...]
    address: str
    leads: tuple[int, ...] = ()
    epochs: tuple[int, ...] = ()
    ready: bool = True
    edge: str = ""
    http: str = ""
    pid: int = 0
    host: str = ""

    def reign(self, log_id: LogId) -> int:
        """The epoch in which it says to lead the log; -1 when it does not."""
        if log_id not in self.leads:
            return -1
        place = self.leads.index(log_id)
        return self.epochs[place] if place < len(self.epochs) else 0


class Registry(Protocol):
    """Membership of a cluster. All coroutines: from the loop's thread.

    A registry that cannot be reached raises `Unavailable`; callers keep their last view.

    One that only lists addresses, and takes no announcements, has the attribute `is_list = True`:
    its nodes are asked who they are, whether they are ready, and what they lead. Where it does not
    know a node's roles it gives none. Nodes that vanish from any other are asked before they are
    let go; see `cluster.asking`.
    """

    async def announce(self, node: NodeInfo) -> None:
        """Add or renew a node; call it at least every `heartbeat_s`. Idempotent."""

    async def withdraw(self, node_id: NodeId) -> None:
        """Remove a node at once; succeeds when it is absent."""

    async def nodes(self) -> tuple[NodeInfo, ...]:
        """All live nodes, by id."""

    async def close(self) -> None:
        """Let go of connections and threads; announced nodes expire by themselves."""


class Watching(Registry, Protocol):
    """A registry that tells of changes by itself: what it adds is optional."""

    async def changed(self) -> None:
        """Return when the nodes may be others than `nodes` last gave here; cancellable.

        It may return without a change, may be late, and waits for ever where none comes.
        """


@runtime_checkable
class Remembering(Protocol):
    """What a registry may offer besides: who stopped renewing its entry and did not leave."""

    async def silent(self) -> tuple[NodeInfo, ...]:
        """Nodes with an entry that do not count as live, by id: they died, or hang.

        Raises:
            Unavailable: the registry cannot be reached.
        """
