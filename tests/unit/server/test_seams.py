"""Services that stand still: what waits for them keeps to threads of their own."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from mishards.core.ids import LogId, MetadataVersion
from mishards.core.runtime import Runtime, SystemRuntime
from mishards.discovery.election import Lease
from mishards.discovery.election_memory import MemoryElection
from mishards.metadata.memory import MemoryMetadataStore
from mishards.server.config import load_config
from mishards.server.seams import open_seams

_answers = threading.Event()


class SlowMetadata(MemoryMetadataStore):
    """Gives its version in a thread, when it answers."""

    def __init__(self, _url: str, runtime: Runtime) -> None:
        super().__init__()
        self._runtime = runtime

    async def version(self) -> MetadataVersion:
        await self._runtime.blocking(_answers.wait)
        return await super().version()


class SlowElection(MemoryElection):
    """Shows leases in a thread, when it answers."""

    def __init__(self, runtime: Runtime, *, url: str) -> None:
        super().__init__()
        self._runtime = runtime

    async def look(self, log_id: LogId) -> Lease:
        await self._runtime.blocking(_answers.wait)
        return await super().look(log_id)


def test_services_that_stand_still_hold_up_neither_storage_nor_each_other(tmp_path: Path) -> None:
    options = {
        "cluster.data": str(tmp_path),
        "cluster.metadata": f"{__name__}:SlowMetadata://",
        "cluster.election": f"{__name__}:SlowElection",
        "cluster.discovery": f"sqlite:///{tmp_path}/nodes.db",
    }

    async def main() -> None:
        runtime = SystemRuntime(threads=2)
        _answers.set()
        seams = await open_seams(load_config(options=options, environ={}).config, runtime)
        _answers.clear()
        waiting = [
            asyncio.ensure_future(call)
            for _ in range(5)
            for call in (seams.metadata.version(), seams.election.look(LogId(0)))
        ]
        try:
            async with asyncio.timeout(20):
                await seams.store.create("key", b"value")
                assert await seams.registry.nodes() == ()
            assert not any(one.done() for one in waiting)
        finally:
            _answers.set()
        await asyncio.gather(*waiting)
        await seams.close()
        await runtime.close()

    asyncio.run(main())
