"""Metadata in memory, for tests, simulation and throw-away instances.

Invariant: nothing is awaited between checking and changing, so every call is atomic on the loop's
thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

from mishards.core.errors import DataInUse, MetadataConflict
from mishards.core.ids import Epoch, LogId, MetadataVersion
from mishards.core.runtime import Runtime
from mishards.metadata.protocol import Changes


class MemoryMetadataStore:
    """A `MetadataStore` that lives as long as the Python object."""

    def __init__(self) -> None:
        self._cluster_id = ""
        self._version = MetadataVersion(0)
        self._pruned = MetadataVersion(0)
        self._epochs: dict[LogId, Epoch] = {}
        # Records and, where the bytes are None, deleted keys; in the order of their versions.
        self._records: dict[str, tuple[MetadataVersion, bytes | None]] = {}

    async def open(self, cluster_id: str) -> str:
        self._cluster_id = self._cluster_id or cluster_id
        if cluster_id not in ("", self._cluster_id):
            raise DataInUse(
                f"the metadata store belongs to cluster {self._cluster_id!r}, not {cluster_id!r}"
            )
        return self._cluster_id

    async def version(self) -> MetadataVersion:
        return self._version

    async def changes(self, since: MetadataVersion) -> Changes:
        if since < self._pruned:
            since = MetadataVersion(0)
        puts: list[tuple[str, bytes]] = []
        deletes: list[str] = []
        for key, (version, data) in reversed(self._records.items()):
            if version <= since:
                break
            if data is not None:
                puts.append((key, data))
            elif since:
                deletes.append(key)
        return Changes(since, self._version, tuple(reversed(puts)), tuple(reversed(deletes)))

    async def begin_epoch(self, log_id: LogId, epoch: Epoch) -> None:
        newest = self._epochs.get(log_id, Epoch(0))
        if epoch <= newest:
            raise MetadataConflict(f"epoch {epoch} of log {log_id} is not after epoch {newest}")
        self._epochs[log_id] = epoch

    async def epoch(self, log_id: LogId) -> Epoch:
        return self._epochs.get(log_id, Epoch(0))

    async def commit(
        self,
        log_id: LogId,
        epoch: Epoch,
        expected: MetadataVersion,
        puts: dict[str, bytes],
        deletes: tuple[str, ...] = (),
    ) -> Changes:
        newest = self._epochs.get(log_id, Epoch(0))
        if epoch != newest:
            raise MetadataConflict(f"epoch {epoch} of log {log_id} is over: {newest} reigns")
        if expected != self._version:
            raise MetadataConflict(f"metadata is at version {self._version}, not {expected}")
        self._version = MetadataVersion(expected + 1)
        changed: dict[str, bytes | None] = {**dict.fromkeys(deletes), **puts}
        for key, data in changed.items():
            self._records.pop(key, None)
            self._records[key] = (self._version, data)
        return Changes(expected, self._version, tuple(puts.items()), deletes)

    async def restore(self, changes: Changes, epochs: Mapping[LogId, Epoch]) -> None:
        if changes.version <= self._version:
            raise MetadataConflict(
                f"metadata is at version {self._version}; {changes.version} is not beyond it"
            )
        self._version = changes.version
        gone: dict[str, bytes | None] = dict.fromkeys(self._records)
        self._records = {
            key: (changes.version, data) for key, data in {**gone, **dict(changes.puts)}.items()
        }
        for log_id, epoch in epochs.items():
            self._epochs[log_id] = max(epoch, self._epochs.get(log_id, Epoch(0)))

    async def prune(self, before: MetadataVersion) -> None:
        self._pruned = max(self._pruned, min(before, self._version))
        self._records = {
            key: held
            for key, held in self._records.items()
            if held[1] is not None or held[0] > self._pruned
        }

    async def close(self) -> None:
        pass


_shared: WeakValueDictionary[str, MemoryMetadataStore] = WeakValueDictionary()


def open_memory(url: str, runtime: Runtime) -> MemoryMetadataStore:
    """The store of `memory://name`, shared by all who hold it; a new one for `memory://`."""
    name = urlsplit(url).netloc
    store = _shared.get(name)
    if store is None:
        store = MemoryMetadataStore()
        if name:
            _shared[name] = store
    return store
