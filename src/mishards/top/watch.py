"""Looks at a cluster again and again; what is away leaves its figures out, and ends nothing."""

from __future__ import annotations

import asyncio

from mishards.cluster.identity import read_identity
from mishards.core.ids import MetadataVersion
from mishards.core.runtime import Runtime
from mishards.doctor.findings import Trouble
from mishards.doctor.nodes import Entries, NodeFacts, ask_nodes
from mishards.doctor.reach import Limits, Reach, open_reach, open_transport
from mishards.metadata.snapshot import MetadataSnapshot
from mishards.rpc.protocol import Transport
from mishards.server.config import Config
from mishards.top.samples import Scrape
from mishards.top.scrape import Scraper
from mishards.top.view import Look

_LIMIT_S = 5.0
_ASK_S = 2.0


class ClusterWatch:
    """What is needed to look, kept open between looks. From the loop's thread."""

    def __init__(self, config: Config, runtime: Runtime) -> None:
        self._config = config
        self._runtime = runtime
        self.limits = Limits(runtime, _LIMIT_S)
        self._scraper = Scraper(config.http, runtime, _LIMIT_S)
        self._reach: Reach | None = None
        self._transport: Transport | Trouble | None = None
        self._snapshot = MetadataSnapshot.empty()
        self._entries = Entries(nodes=())

    async def look(self) -> Look:
        """All that can be told now.

        Raises:
            ConfigError: the nodes' certificates cannot be used here.
        """
        problems = [*await self._open(), *await self._read()]
        assert self._transport is not None
        nodes = await ask_nodes(
            self._entries, self._transport, self._runtime, _ASK_S, connect=False
        )
        scrapes = await asyncio.gather(*(self._scrape(node) for node in nodes))
        return Look(
            at_s=self._runtime.monotonic_s(),
            nodes=nodes,
            scrapes={
                node.id: scrape
                for node, scrape in zip(nodes, scrapes, strict=True)
                if scrape is not None
            },
            snapshot=self._snapshot,
            problems=tuple(problems),
        )

    async def close(self) -> None:
        """Close what was opened."""
        if self._transport is not None and not isinstance(self._transport, Trouble):
            await self._transport.close()
        if self._reach is not None:
            await self._reach.close(self._runtime)

    async def _open(self) -> list[str]:
        """Open what is not open yet."""
        if self._reach is None:
            self._reach = await open_reach(self._config, self.limits)
        if self._transport is None:
            self._transport = open_transport(self._config, self._runtime, await self._cluster())
        opened = (self._reach.store, self._reach.metadata, self._reach.registry, self._transport)
        return [part.message for part in opened if isinstance(part, Trouble)]

    async def _cluster(self) -> str:
        assert self._reach is not None
        store = self._reach.store
        if isinstance(store, Trouble):
            return self._config.cluster.id
        named = await self.limits.within("storage", read_identity(store))
        return self._config.cluster.id if isinstance(named, Trouble) or named is None else named

    async def _read(self) -> list[str]:
        """Renew the list of nodes and the metadata; those of before stay where that fails."""
        assert self._reach is not None
        problems = []
        if not isinstance(self._reach.registry, Trouble):
            nodes = await self.limits.within("the registry", self._reach.registry.nodes())
            if isinstance(nodes, Trouble):
                problems.append(nodes.message)
            else:
                self._entries = Entries(nodes=nodes)
        if not isinstance(self._reach.metadata, Trouble):
            since = MetadataVersion(self._snapshot.version)
            changes = await self.limits.within(
                "the metadata database", self._reach.metadata.changes(since)
            )
            if isinstance(changes, Trouble):
                problems.append(changes.message)
            else:
                self._snapshot = self._snapshot.apply(changes)
        return problems

    async def _scrape(self, node: NodeFacts) -> Scrape | None:
        if not node.answers or not node.now.http:
            return None
        scraping = self._scraper.scrape(node.now.http, node.now.host)
        found = await self.limits.within(f"{node.id}'s /metrics", scraping)
        return None if isinstance(found, Trouble) else found
