"""A writer on stores in memory, a place for its backups, and ways to meddle while one is made."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from mishards.backup.create import BackupMaker, BackupReport
from mishards.backup.flow import Flow
from mishards.backup.manifest import Backup
from mishards.backup.progress import Unwatched
from mishards.backup.restore import Restorer, RestoreReport
from mishards.backup.session import DataSession
from mishards.backup.tail import read_tail
from mishards.backup.target import BackupTarget
from mishards.rpc.messages import Message, Reply
from mishards.storage.layers.fault import FaultScript, FaultyStore
from mishards.storage.memory import MemoryStore
from mishards.storage.protocol import ObjectInfo
from mishards.testing.writer_bench import Bench, ask
from mishards.writer.writer import Writer

Meddle = Callable[[str, str], Awaitable[None]]
"""Called with an operation (`get`, `list`) and its key, before it is done."""


class MeddledStore(MemoryStore):
    """The objects of another store; something happens whenever it is read."""

    def __init__(self, store: MemoryStore, meddle: Meddle) -> None:
        super().__init__()
        self._objects = store._objects
        self._meddle = meddle

    async def get(self, key: str) -> bytes:
        await self._meddle("get", key)
        return await super().get(key)

    async def list(self, prefix: str, start_after: str = "") -> list[ObjectInfo]:
        await self._meddle("list", prefix)
        return await super().list(prefix, start_after)


class BackupBench:
    """A place for backups of a bench's data; `faults` are those of the place."""

    def __init__(self, bench: Bench, scratch: Path) -> None:
        self.memory = MemoryStore()
        self.faults = FaultScript()
        self.target = BackupTarget(FaultyStore(self.memory, self.faults, bench.runtime))
        self._bench = bench
        self._scratch = scratch

    async def backup(
        self, name: str, *collections: str, meddle: Meddle | None = None
    ) -> BackupReport:
        """Make a backup, with `meddle` in the data's store."""
        bench = self._bench
        store = bench.store if meddle is None else MeddledStore(bench.store, meddle)
        maker = BackupMaker(
            bench.runtime, store, bench.metadata, self.target, self._scratch, Unwatched()
        )
        return await maker.make(name, collections)

    async def restore(
        self, name: str, bench: Bench, writer: Writer, **chosen: Any
    ) -> RestoreReport:
        """Restore into a bench through its writer; see `Restorer.restore` for what is chosen."""
        session = cast(DataSession, BenchSession(bench, writer))
        restorer = Restorer(session, self.target, self._scratch, Unwatched())
        return await restorer.restore(await self.target.read(name), **chosen)

    async def rows(self, name: str) -> dict[str, tuple[int, int]]:
        """Sealed and growing rows of each collection of a backup."""
        backup: Backup = await self.target.read(name)
        found = {}
        for one in backup.collections:
            tail = await read_tail(self.memory, one, Flow(self._bench.runtime))
            growing = sum(mutation.row_count for mutation in tail)
            found[one.meta.name] = (sum(segment.rows for segment in one.segments), growing)
        return found

    async def keys(self, prefix: str = "") -> list[str]:
        """Keys of all objects of the place."""
        return [info.key for info in await self.memory.list(prefix)]


class BenchSession:
    """As `DataSession`, with a bench's writer for a leader."""

    def __init__(self, bench: Bench, writer: Writer) -> None:
        self.config = SimpleNamespace(writer=bench.config)
        self.seams = SimpleNamespace(runtime=bench.runtime, store=bench.store)
        self.snapshot = bench.snapshot
        self._writer = writer

    async def ask(self, message: Message) -> Reply:
        answer: Reply = await ask(self._writer, message)
        return answer

    @asynccontextmanager
    async def leader(self) -> AsyncIterator[None]:
        yield
