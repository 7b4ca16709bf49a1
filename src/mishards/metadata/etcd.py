"""Metadata in etcd, so that no database server is needed to live on without any one machine.

How it lies there: `etcd_keys`; how it is changed: `etcd_writes`; how it is read: `etcd_reads`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from mishards.core.errors import DataInUse, MetadataUnavailable, Unavailable
from mishards.core.ids import Epoch, LogId, MetadataVersion
from mishards.core.runtime import Runtime
from mishards.metadata.etcd_changes import Change, ChangeLog
from mishards.metadata.etcd_keys import EtcdKeys
from mishards.metadata.etcd_reads import EtcdReads
from mishards.metadata.etcd_writes import EtcdWrites
from mishards.metadata.protocol import Changes
from mishards.storage.etcd_client import EtcdClient
from mishards.storage.etcd_requests import put, read, unchanged
from mishards.storage.etcd_url import parse_etcd_url

SCHEMA_VERSION = 1
_MOST_ATTEMPTS = 5

T = TypeVar("T")


class EtcdMetadataStore:
    """A `MetadataStore`; each call is one hop off the loop."""

    def __init__(self, url: str, runtime: Runtime) -> None:
        """Connects at the first call.

        Args:
            url: `etcd://host:port[,host:port]/prefix`, see `storage.etcd_url`.

        Raises:
            ConfigError: the URL cannot be used.
        """
        parsed = parse_etcd_url(url)
        self._runtime = runtime
        self._name = parsed.name
        self._client = EtcdClient(parsed, runtime.monotonic_s)
        self._keys = EtcdKeys(parsed.prefix)
        changes = ChangeLog(self._client, self._keys)
        self._reads = EtcdReads(self._name, self._client, self._keys, changes)
        self._writes = EtcdWrites(self._client, self._keys, changes, self._reads)

    async def open(self, cluster_id: str) -> str:
        return await self._call(self._open, cluster_id)

    async def version(self) -> MetadataVersion:
        return await self._call(self._reads.version)

    async def changes(self, since: MetadataVersion) -> Changes:
        return await self._call(self._reads.changes, since)

    async def begin_epoch(self, log_id: LogId, epoch: Epoch) -> None:
        await self._call(self._writes.begin_epoch, log_id, epoch)

    async def epoch(self, log_id: LogId) -> Epoch:
        epoch, _ = await self._call(self._reads.epoch, log_id)
        return epoch

    async def commit(
        self,
        log_id: LogId,
        epoch: Epoch,
        expected: MetadataVersion,
        puts: dict[str, bytes],
        deletes: tuple[str, ...] = (),
    ) -> Changes:
        change = Change(tuple(puts.items()), deletes)
        return await self._call(self._writes.commit, log_id, epoch, expected, change)

    async def restore(self, changes: Changes, epochs: Mapping[LogId, Epoch]) -> None:
        await self._call(self._writes.restore, changes, epochs)

    async def prune(self, before: MetadataVersion) -> None:
        await self._call(self._writes.prune, before)

    async def close(self) -> None:
        await self._runtime.blocking(self._client.close)

    async def _call(self, work: Callable[..., T], *args: object) -> T:
        try:
            return await self._runtime.blocking(work, *args)
        except Unavailable as error:
            raise MetadataUnavailable(f"the metadata in {error.message}") from error

    def _open(self, cluster_id: str) -> str:
        keys, named = self._keys, cluster_id.encode()
        for _ in range(_MOST_ATTEMPTS):
            schema, cluster = self._client.read(read(keys.schema), read(keys.cluster)).ranges
            if not schema:
                first = [
                    put(keys.schema, b"%d" % SCHEMA_VERSION),
                    put(keys.cluster, named),
                    put(keys.version, b"0"),
                ]
                if self._client.write([unchanged(keys.schema, 0)], first).succeeded:
                    return cluster_id
                continue
            if int(schema[0].value) > SCHEMA_VERSION:
                raise DataInUse(
                    f"the metadata in {self._name} has schema version {int(schema[0].value)} of a "
                    f"newer release; this one knows versions up to {SCHEMA_VERSION}"
                )
            owner = cluster[0].value.decode()
            if cluster_id in ("", owner):
                return owner
            if owner:
                raise DataInUse(
                    f"the metadata in {self._name} belongs to cluster {owner!r}, not {cluster_id!r}"
                )
            same = [unchanged(keys.cluster, cluster[0].revision)]
            if self._client.write(same, [put(keys.cluster, named)]).succeeded:
                return cluster_id
        raise MetadataUnavailable(f"{self._name} changed during each attempt to open it")
