from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mishards.core.checksum import crc32
from mishards.core.runtime import SystemRuntime
from mishards.storage import fetch as module
from mishards.storage.fetch import fetch
from mishards.storage.layers.count import CountingStore
from mishards.storage.memory import MemoryStore

PIECE = 100


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE_BYTES", PIECE)


@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 199, 200, 201, 1000])
@pytest.mark.parametrize("more", [-150, -1, 0, 1, 150])
def test_what_comes_is_what_is_there(tmp_path: Path, size: int, more: int) -> None:
    """Of an object that is shorter or longer than it should be, that shows."""
    data = bytes(number % 251 for number in range(max(size + more, 0)))

    async def case() -> None:
        runtime = SystemRuntime(threads=1)
        store = CountingStore(MemoryStore())
        await store.put("a/b", data)
        path = tmp_path / "file"
        found, checksum = await fetch(store, runtime, "a/b", size, path)
        whole = path.read_bytes()
        assert data.startswith(whole)
        assert (found, checksum) == (len(whole), crc32(whole))
        assert (found == size) == (len(data) == size)
        assert store.calls["get"] <= max(1, -(-size // PIECE))
        await runtime.close()

    asyncio.run(case())
