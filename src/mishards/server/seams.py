"""The four seams of a node, opened from configuration."""

from __future__ import annotations

import contextlib

import msgspec

from mishards.cluster.asking import AskingRegistry
from mishards.cluster.identity import settle_identity
from mishards.core.errors import ConfigError
from mishards.core.runtime import Runtime
from mishards.discovery.election import Election
from mishards.discovery.election_registry import open_election
from mishards.discovery.protocol import Registry
from mishards.discovery.registry import open_registry
from mishards.metadata.journaled import JournaledMetadata
from mishards.metadata.measured import MeasuredMetadata
from mishards.metadata.protocol import MetadataStore
from mishards.metadata.registry import open_metadata_store
from mishards.observability.instruments import Metrics
from mishards.rpc.protocol import Transport
from mishards.rpc.tcp import FramedTransport
from mishards.server.config import ClusterConfig, Config
from mishards.storage.layers.cut import CutStore, StorageCut
from mishards.storage.layers.measure import MeasuringStore
from mishards.storage.protocol import ObjectStore
from mishards.storage.registry import open_store
from mishards.tls.cluster import ClusterTls
from mishards.tls.files import TlsFiles
from mishards.writer.build_job import Builder


class Seams(msgspec.Struct, frozen=True):
    """Everything a node reaches the world through; whoever opened them closes them.

    Attributes:
        builder: builds indexes and merges segments; None for processes of their own.
        cut: keeps storage from the node for a while; None where drills are not enabled.
        metrics: what the node measures itself with; off unless it is given.
    """

    runtime: Runtime
    transport: Transport
    store: ObjectStore
    metadata: MetadataStore
    registry: Registry
    election: Election
    builder: Builder | None = None
    cut: StorageCut | None = None
    metrics: Metrics = msgspec.field(default_factory=lambda: Metrics(enabled=False))

    async def close(self) -> None:
        """Close all but the runtime."""
        await self.transport.close()
        await self.registry.close()
        await self.election.close()
        await self.metadata.close()
        await self.store.close()


async def open_seams(config: Config, runtime: Runtime, metrics: Metrics | None = None) -> Seams:
    """Open what the configuration names, metadata with its journal on shared storage.

    Args:
        metrics: measure storage and metadata with these, and hand them on.

    Raises:
        ConfigError, PluginError: something cannot be opened as named.
        DataInUse: the data belongs to another cluster.
        MetadataBehind: the metadata database has lost commits.
        CorruptObject, StorageError, MetadataUnavailable: that cannot be told.
    """
    return await finished(await open_plain_seams(config, runtime), metrics)


async def finished(seams: Seams, metrics: Metrics | None) -> Seams:
    """Plain seams with the journal of metadata, and measured where there are metrics. Raises as
    `open_seams`."""
    if metrics is None or not metrics.enabled:
        return await journaled(seams)
    store = MeasuringStore(seams.store, metrics, seams.runtime)
    seams = await journaled(msgspec.structs.replace(seams, store=store, metrics=metrics))
    metadata = MeasuredMetadata(seams.metadata, metrics, seams.runtime)
    return msgspec.structs.replace(seams, metadata=metadata)


async def journaled(seams: Seams) -> Seams:
    """The same with a journal of metadata, which was compared with it. Raises as `open_seams`."""
    metadata = JournaledMetadata(seams.metadata, seams.store, seams.runtime)
    try:
        await metadata.compare()
    except BaseException:
        await seams.close()
        raise
    return msgspec.structs.replace(seams, metadata=metadata)


async def open_plain_seams(config: Config, runtime: Runtime) -> Seams:
    """As `open_seams`, with metadata as the database has it, and without a look at the journal.

    Each service blocks threads of its own: one that stands still stops neither storage nor reads.
    """
    cluster = config.cluster
    tls = cluster_tls(cluster)
    if config.has_data_folder:
        config.data_folder.mkdir(parents=True, exist_ok=True)
    async with contextlib.AsyncExitStack() as stack:
        store = open_store(cluster.data, runtime)
        cut = StorageCut(runtime) if cluster.drills else None
        if cut is not None:
            store = CutStore(store, cut)
        stack.push_async_callback(store.close)
        metadata = open_metadata_store(config.metadata_url, runtime.apart("metadata"))
        stack.push_async_callback(metadata.close)
        cluster_id = await settle_identity(store, metadata, cluster.id, runtime.random)
        registry = _open_registry(config, runtime.apart("registry"))
        stack.push_async_callback(registry.close)
        election = open_election(
            cluster.election or config.metadata_url,
            runtime.apart("election"),
            url=config.metadata_url,
        )
        stack.pop_all()
    transport = FramedTransport(
        runtime,
        secret=cluster.secret.reveal(),
        cluster=cluster_id,
        idle_s=config.node.idle_s,
        tls=tls,
    )
    return Seams(
        runtime=runtime,
        transport=transport,
        store=store,
        metadata=metadata,
        registry=AskingRegistry(registry, transport, runtime),
        election=election,
        cut=cut,
    )


def cluster_tls(cluster: ClusterConfig) -> ClusterTls | None:
    """TLS between nodes as a configuration has it; None where it has none.

    Raises:
        ConfigError: one of the files is missing, or cannot be used.
    """
    files = {
        "tls_certificate": cluster.tls_certificate,
        "tls_key": cluster.tls_key,
        "tls_ca": cluster.tls_ca,
    }
    if not any(files.values()):
        return None
    if missing := [f"cluster.{name}" for name, path in files.items() if not path]:
        raise ConfigError(f"TLS between nodes also needs {' and '.join(missing)}")
    return ClusterTls(
        TlsFiles(certificate=cluster.tls_certificate, key=cluster.tls_key, ca=cluster.tls_ca)
    )


def _open_registry(config: Config, runtime: Runtime) -> Registry:
    cluster = config.cluster
    if cluster.discovery == "static" and not cluster.nodes:
        raise ConfigError("cluster.discovery = 'static' needs cluster.nodes: role@address, …")
    return open_registry(
        cluster.discovery or config.metadata_url,
        runtime,
        url=config.metadata_url,
        nodes=cluster.nodes,
    )
