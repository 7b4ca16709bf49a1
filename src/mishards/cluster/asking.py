"""A registry whose nodes are asked themselves where the registry cannot tell.

- A registry that only lists addresses (`is_list`, see `discovery.protocol`) knows neither who lives
  nor who leads: all that it lists are asked who they are.
- Nodes that vanished from any other registry are asked as well: what was emptied, restored from
  long ago, or cannot be written to by some, loses nobody who answers and serves.
- Where the registry cannot be reached, those known last are asked, see `last_known`.

Invariants: a node that answers and is ready is never lost; where nobody answers, the fault may be
this node's own, and what was known stays; each node is asked at most every `every_s`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import msgspec

from mishards.core.errors import DeadlineExceeded, MishardsError, NotReady, Unavailable
from mishards.core.ids import NodeId
from mishards.core.runtime import Runtime
from mishards.discovery.protocol import NodeInfo, Registry
from mishards.rpc.messages import Introduce, Introduction
from mishards.rpc.protocol import Transport

EVERY_S = 1.0
PATIENCE_S = 1.0


class _Known:
    """A node as it was listed, and as it said of itself last."""

    def __init__(self, node: NodeInfo) -> None:
        self.listed = node
        self.node = node
        self.asked_s = float("-inf")
        self.answers = False

    @property
    def serves(self) -> bool:
        return self.answers and self.node.ready


class AskingRegistry:
    """A `Registry` over another one. From the loop's thread."""

    def __init__(
        self,
        listed: Registry,
        transport: Transport,
        runtime: Runtime,
        *,
        every_s: float = EVERY_S,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """Closes `listed`, not `transport`."""
        self.listed = listed
        self.changed: Callable[[], Coroutine[Any, Any, None]] | None
        self.changed = getattr(listed, "changed", None)
        """Of a `Watching` registry."""
        self._is_list = bool(getattr(listed, "is_list", False))
        self._transport = transport
        self._runtime = runtime
        self._every_s = every_s
        self._patience_s = patience_s
        self._own: NodeInfo | None = None
        self._known: dict[str, _Known] = {}

    async def announce(self, node: NodeInfo) -> None:
        self._own = node
        await self.listed.announce(node)

    async def withdraw(self, node_id: NodeId) -> None:
        if self._own is not None and self._own.id == node_id:
            self._known.pop(self._own.address, None)
            self._own = None
        await self.listed.withdraw(node_id)

    async def nodes(self) -> tuple[NodeInfo, ...]:
        """Those that live; of nodes that only a list names and that do not answer, not ready."""
        listed = {node.address: node for node in await self.listed.nodes()}
        if self._is_list:
            return await self._of_list(listed)
        return await self._of_registry(listed)

    async def last_known(self) -> tuple[NodeInfo, ...]:
        """The nodes of the last answer, as those that answer are now; nobody is left out."""
        await self._ask(self._known.values())
        return self._told(known.node for known in self._known.values())

    async def close(self) -> None:
        await self.listed.close()

    async def _of_list(self, listed: dict[str, NodeInfo]) -> tuple[NodeInfo, ...]:
        for address, node in listed.items():
            known = self._known.get(address)
            if known is None or known.listed != node:
                self._known[address] = _Known(node)
        self._known = {address: self._known[address] for address in listed}
        await self._ask(self._known.values())
        if not any(known.answers for known in self._known.values() if not self._is_own(known)):
            return self._told(known.node for known in self._known.values())
        return self._told(
            known.node if known.answers else _silent(known.node) for known in self._known.values()
        )

    async def _of_registry(self, listed: dict[str, NodeInfo]) -> tuple[NodeInfo, ...]:
        ids = {node.id for node in listed.values()}
        vanished = [
            known
            for address, known in self._known.items()
            if address not in listed and known.node.id not in ids
        ]
        await self._ask(vanished)
        own_id = None if self._own is None else self._own.id
        all_gone = ids <= {own_id}
        kept = {
            known.listed.address: known
            for known in vanished
            if known.serves or (all_gone and not known.answers)
        }
        self._known = {address: _Known(node) for address, node in listed.items()} | kept
        return self._told(known.node for known in self._known.values())

    def _told(self, nodes: Iterable[NodeInfo]) -> tuple[NodeInfo, ...]:
        """Nodes by id, each once, less those of which no role is known."""
        found = {node.id: node for node in nodes if node.roles}
        return tuple(found[node_id] for node_id in sorted(found))

    # --- asking -----------------------------------------------------------------------------

    async def _ask(self, nodes: Iterable[_Known]) -> None:
        """Ask those that were not asked of late, all at once."""
        now_s = self._runtime.monotonic_s()
        due = [known for known in nodes if now_s - known.asked_s >= self._every_s]
        await asyncio.gather(*(self._ask_one(known, now_s) for known in due))

    async def _ask_one(self, known: _Known, now_s: float) -> None:
        if self._own is not None and self._is_own(known):
            known.node, known.answers = self._own, True
            return
        known.asked_s = now_s
        channel = self._transport.channel(known.listed.address)
        try:
            reply = await channel.call(Introduce(), timeout_s=self._patience_s)
        except (Unavailable, DeadlineExceeded):
            known.answers = False
        except NotReady:
            known.node, known.answers = msgspec.structs.replace(known.node, ready=False), True
        except MishardsError:
            # It lives, and is of a release that does not know the question.
            known.node, known.answers = known.listed, True
        else:
            known.answers = isinstance(reply, Introduction)
            if isinstance(reply, Introduction):
                # It is reached where it is listed, whatever it calls its own address.
                known.node = msgspec.structs.replace(reply.node, address=known.listed.address)

    def _is_own(self, known: _Known) -> bool:
        return self._own is not None and known.listed.address == self._own.address


def _silent(node: NodeInfo) -> NodeInfo:
    """As of a node that does not answer while others do: it neither serves nor leads."""
    return msgspec.structs.replace(node, ready=False, leads=(), epochs=())
