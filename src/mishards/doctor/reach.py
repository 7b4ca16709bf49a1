"""What the doctor reaches a cluster through, each thing opened by itself and each wait bounded.

Invariants: what cannot be opened is a `Trouble` and never stops the rest; nothing is made by
looking: no data folder, no database, no table of the metadata. A call that waits longer than its
limit is left behind on a thread of its own, which `Reach.close` does not wait for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import msgspec

from mishards.core.errors import ConfigError, MishardsError
from mishards.core.runtime import Runtime
from mishards.discovery.election import Election
from mishards.discovery.election_registry import open_election
from mishards.discovery.protocol import Registry
from mishards.discovery.registry import open_registry
from mishards.doctor.database import require_database
from mishards.doctor.findings import Trouble
from mishards.metadata.protocol import MetadataStore
from mishards.metadata.registry import open_metadata_store
from mishards.rpc.protocol import Transport
from mishards.rpc.tcp import FramedTransport
from mishards.server.config import Config
from mishards.server.seams import cluster_tls
from mishards.storage.protocol import ObjectStore
from mishards.storage.registry import open_store

T = TypeVar("T")

_CLOSE_S = 2.0


class Limits:
    """Bounds waits, and remembers whether one of them ran out."""

    def __init__(self, runtime: Runtime, seconds: float) -> None:
        self.runtime = runtime
        self.seconds = seconds
        self.left_behind = False
        """A thread may still wait: the process is to be ended without it."""

    async def within(self, what: str, work: Coroutine[Any, Any, T]) -> T | Trouble:
        """What `work` gives, or why it does not."""
        try:
            return await self.runtime.timeout(work, self.seconds)
        except TimeoutError:
            self.left_behind = True
            return Trouble(f"{what} did not answer within {self.seconds:g} s")
        except (MishardsError, OSError) as error:
            return Trouble(str(error) or type(error).__name__)


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """Storage, metadata, registry and election, or why there is none."""

    store: ObjectStore | Trouble
    metadata: MetadataStore | Trouble
    registry: Registry | Trouble
    election: Election | Trouble

    async def close(self, runtime: Runtime) -> None:
        """Close what was opened; what cannot be closed in time is left to the process's end."""
        opened = (self.registry, self.election, self.metadata, self.store)
        closing = [
            runtime.timeout(o.close(), _CLOSE_S) for o in opened if not isinstance(o, Trouble)
        ]
        await asyncio.gather(*closing, return_exceptions=True)


async def open_reach(config: Config, limits: Limits) -> Reach:
    """Open what the configuration names, at the same time."""
    runtime, cluster = limits.runtime, config.cluster

    async def opened(what: str, work: Callable[[Runtime], T]) -> T | Trouble:
        apart = runtime.apart(what)
        return await limits.within(what, apart.blocking(work, apart))

    def storage(apart: Runtime) -> ObjectStore:
        config.require_data()
        return open_store(cluster.data, apart)

    def metadata(apart: Runtime) -> MetadataStore:
        require_database(config)
        return open_metadata_store(config.metadata_url, apart)

    def registry(apart: Runtime) -> Registry:
        if cluster.discovery == "static" and not cluster.nodes:
            raise ConfigError("cluster.discovery = 'static' needs cluster.nodes: role@address, …")
        if not cluster.discovery:
            require_database(config)
        name = cluster.discovery or config.metadata_url
        return open_registry(name, apart, url=config.metadata_url, nodes=cluster.nodes)

    def election(apart: Runtime) -> Election:
        if not cluster.election:
            require_database(config)
        return open_election(
            cluster.election or config.metadata_url, apart, url=config.metadata_url
        )

    store, found_metadata, found_registry, found_election = await asyncio.gather(
        opened("storage", storage),
        opened("metadata", metadata),
        opened("registry", registry),
        opened("election", election),
    )
    return Reach(
        store=store,
        metadata=found_metadata,
        registry=found_registry,
        election=found_election,
    )


def open_transport(config: Config, runtime: Runtime, cluster_id: str) -> Transport | Trouble:
    """The way to nodes. The caller closes it."""
    try:
        return FramedTransport(
            runtime,
            secret=config.cluster.secret.reveal(),
            cluster=cluster_id,
            idle_s=config.node.idle_s,
            tls=cluster_tls(config.cluster),
        )
    except ConfigError as error:
        return Trouble(error.message)
