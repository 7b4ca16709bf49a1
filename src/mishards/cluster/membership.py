"""Who is in the cluster, as one node sees it: a view that is refreshed in the background.

Invariants: `view` and what is read from it never wait, and any thread may read them; a registry
that cannot be reached leaves the last nodes in place, as they answer themselves where it can ask
them; `view.version` rises whenever the nodes or the suspicions change, and only then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Coroutine
from contextlib import suppress
from functools import cached_property
from typing import Any

import msgspec

from mishards.cluster.asking import AskingRegistry
from mishards.cluster.coalescing import Coalescer
from mishards.core.errors import SystemFault
from mishards.core.ids import LogId, NodeId
from mishards.core.runtime import Runtime
from mishards.discovery.protocol import NodeInfo, Registry

_log = logging.getLogger(__name__)
_JITTER = 0.2
# Nodes change together, as in a restart of all: one look for many.
_BATCH_S = 0.05


class MembershipView(msgspec.Struct, frozen=True, dict=True):
    """The nodes of one moment, by id.

    Attributes:
        suspects: nodes that failed calls a short while ago.
    """

    version: int = 0
    nodes: tuple[NodeInfo, ...] = ()
    suspects: frozenset[NodeId] = frozenset()

    @cached_property
    def ready_readers(self) -> tuple[NodeInfo, ...]:
        """Readers that serve, less the suspects; with them when there are no others."""
        ready = tuple(node for node in self.nodes if node.ready and "reader" in node.roles)
        return tuple(node for node in ready if node.id not in self.suspects) or ready

    def readers(self) -> tuple[NodeInfo, ...]:
        return self.ready_readers

    def leader(self, log_id: LogId, refused: Collection[NodeId] = ()) -> NodeInfo | None:
        """The node that says it leads the log.

        Of several, that of the newest reign that neither `refused` nor is suspected, if there is
        one, else that of the newest reign.
        """
        leaders = [node for node in self.nodes if log_id in node.leads]
        doubted = {*self.suspects, *refused}
        trusted = [node for node in leaders if node.id not in doubted]
        return max(trusted or leaders, key=lambda node: node.reign(log_id), default=None)


class Membership:
    """Keeps the view fresh. All methods from the loop's thread, but those that only read it."""

    def __init__(self, runtime: Runtime, registry: Registry, refresh_s: float) -> None:
        """`refresh_s`: how often the registry is asked, at least; see `Watching`."""
        self.view = MembershipView()
        self._runtime = runtime
        self._registry = registry
        self._refresh_s = refresh_s
        self._coalescer = Coalescer(self._read)
        self._suspects: dict[NodeId, float] = {}
        self._reachable = True
        self._task: asyncio.Task[None] | None = None
        self._background: dict[asyncio.Task[None], None] = {}  # in the order they began

    async def start(self) -> None:
        """Fill the view and keep it fresh until `close`."""
        await self.refresh()
        self._task = self._runtime.spawn(self._keep_fresh(), "membership")

    async def close(self) -> None:
        """End the background work; the registry stays open."""
        tasks = [*self._background, *([] if self._task is None else [self._task])]
        self._task = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def readers(self) -> tuple[NodeInfo, ...]:
        """Readers to send work to, by id; see `MembershipView.ready_readers`."""
        return self.view.ready_readers

    def leader(self, log_id: LogId) -> NodeInfo | None:
        """The node that leads the log, as far as is known."""
        return self.view.leader(log_id)

    def suspect(self, node_id: NodeId, seconds: float) -> None:
        """Prefer other nodes for a while; a longer suspicion that is held already stays."""
        until_s = self._runtime.monotonic_s() + seconds
        if node_id in self._suspects:
            self._suspects[node_id] = max(self._suspects[node_id], until_s)
            return
        self._suspects[node_id] = until_s
        self._replace(self.view.nodes)
        self._spawn(self._trust_again(node_id), f"suspicion of {node_id}")

    @property
    def reachable(self) -> bool:
        """Whether the registry answered when it was last asked."""
        return self._reachable

    async def refresh(self, patience_s: float | None = None) -> None:
        """Ask the registry now; when it cannot be reached the view stays as it is.

        Args:
            patience_s: return after so long at most; the registry may stand still.
        """
        if patience_s is None:
            await self._coalescer.run()
            return
        # What was asked cannot be called back: one question at a time, however many gave it up.
        task = self._spawn(self._coalescer.run(), "a look at the registry")
        await asyncio.wait((task,), timeout=max(patience_s, 0.0))

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = self._runtime.spawn(work, name)
        self._background[task] = None
        task.add_done_callback(lambda ended: self._background.pop(ended, None))
        return task

    async def _trust_again(self, node_id: NodeId) -> None:
        while (left_s := self._suspects[node_id] - self._runtime.monotonic_s()) > 0:
            await self._runtime.sleep(left_s)
        del self._suspects[node_id]
        self._replace(self.view.nodes)

    async def _keep_fresh(self) -> None:
        while True:
            # Spread, so that the nodes of a cluster do not ask all at once.
            spread = self._runtime.random.uniform(1 - _JITTER, 1 + _JITTER)
            await self._pause(self._refresh_s * spread)
            await self.refresh()

    async def _pause(self, seconds: float) -> None:
        """Wait for so long, or until the registry tells of a change, if it is one that does."""
        changed = getattr(self._registry, "changed", None)
        if changed is None:
            await self._runtime.sleep(seconds)
            return
        with suppress(TimeoutError):
            await self._runtime.timeout(changed(), seconds)
            await self._runtime.sleep(_BATCH_S)

    async def _read(self) -> None:
        try:
            nodes = await self._registry.nodes()
        except SystemFault as error:
            if self._reachable:
                _log.warning("the registry cannot be read, the last view stays: %s", error.message)
            self._reachable = False
            if isinstance(self._registry, AskingRegistry):
                self._replace(await self._registry.last_known() or self.view.nodes)
            return
        if not self._reachable:
            _log.info("the registry can be read again")
        self._reachable = True
        self._replace(tuple(sorted(nodes)))

    def _replace(self, nodes: tuple[NodeInfo, ...]) -> None:
        old = self.view
        suspects = frozenset(self._suspects)
        if nodes != old.nodes or suspects != old.suspects:
            self.view = MembershipView(old.version + 1, nodes, suspects)
