"""What really became durable, and when: the truth that a history is checked against."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import NamedTuple

from mishards.core.errors import CorruptObject
from mishards.core.ids import Epoch, LogId, MetadataVersion
from mishards.log.entry import Entry, decode_entry
from mishards.metadata.memory import MemoryMetadataStore
from mishards.metadata.protocol import Changes
from mishards.storage.memory import MemoryStore


class Durable(NamedTuple):
    """A log entry and the virtual time at which it became durable."""

    at_s: float
    entry: Entry


class WitnessedMetadata(MemoryMetadataStore):
    """Metadata that remembers who was let commit.

    Attributes:
        usurped: commits that were taken of an epoch that had ended: log, epoch, and who reigned.
    """

    def __init__(self) -> None:
        super().__init__()
        self.usurped: list[tuple[LogId, Epoch, Epoch]] = []

    async def commit(
        self,
        log_id: LogId,
        epoch: Epoch,
        expected: MetadataVersion,
        puts: dict[str, bytes],
        deletes: tuple[str, ...] = (),
    ) -> Changes:
        reigning = await self.epoch(log_id)
        changes = await super().commit(log_id, epoch, expected, puts, deletes)
        if epoch != reigning:
            self.usurped.append((log_id, epoch, reigning))
        return changes


class WitnessedStore(MemoryStore):
    """Storage that remembers the log it was given, whatever becomes of the objects.

    Attributes:
        log: intact entries, in the order they became durable.
        replaced: keys of log entries that were changed or removed after they became durable,
            which nothing may ever do but trimming.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log: list[Durable] = []
        self.replaced: list[str] = []

    async def create(self, key: str, data: bytes) -> None:
        await super().create(key, data)
        if key.startswith("log/"):
            try:
                entry = decode_entry(bytes(data), key)
            except CorruptObject:
                return
            self.log.append(Durable(asyncio.get_running_loop().time(), entry))

    async def put(self, key: str, data: bytes) -> None:
        self._note(key)
        await super().put(key, data)

    async def put_file(self, key: str, path: Path) -> None:
        self._note(key)
        await super().put_file(key, path)

    def _note(self, key: str) -> None:
        if key.startswith("log/"):
            self.replaced.append(key)
