"""A measured store tells how often it was asked, how that ended, and how much was moved."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mishards.core.errors import ObjectExists, ObjectNotFound, StorageError
from mishards.core.runtime import SystemRuntime
from mishards.observability.instruments import Metrics
from mishards.observability.metrics import (
    STORAGE_OPERATIONS,
    STORAGE_READ,
    STORAGE_SECONDS,
    STORAGE_WRITTEN,
)
from mishards.storage.layers.fault import Fault, FaultScript, FaultyStore
from mishards.storage.layers.measure import MeasuringStore
from mishards.storage.memory import MemoryStore


def test_outcomes_bytes_and_times_are_told_and_errors_passed_on(tmp_path: Path) -> None:
    metrics, faults = Metrics(), FaultScript()

    async def main() -> None:
        runtime = SystemRuntime(threads=1)
        store = MeasuringStore(FaultyStore(MemoryStore(), faults, runtime), metrics, runtime)
        await store.create("a", b"12345")
        with pytest.raises(ObjectExists):
            await store.create("a", b"other")
        assert await store.get("a") == b"12345"
        assert await store.get_part("a", 1, 2) == b"23"
        assert await store.get_all(["a", "b"]) == [b"12345", None]
        with pytest.raises(ObjectNotFound):
            await store.get("b")
        (tmp_path / "file").write_bytes(b"1234567")
        await store.put_file("c", tmp_path / "file")
        faults.add(Fault(error=StorageError))
        with pytest.raises(StorageError):
            await store.put("d", b"1")
        await runtime.close()

    asyncio.run(main())
    found = {one.metric: one for one in metrics.values()}
    assert found[STORAGE_OPERATIONS].numbers == {
        ("create", "ok"): 1,
        ("create", "exists"): 1,
        ("get", "ok"): 1,
        ("get", "missing"): 1,
        ("get_part", "ok"): 1,
        ("get_all", "ok"): 1,
        ("put_file", "ok"): 1,
        ("put", "failed"): 1,
    }
    assert found[STORAGE_READ].numbers == {(): 12}
    assert found[STORAGE_WRITTEN].numbers == {(): 12}
    times = found[STORAGE_SECONDS].histograms
    assert {key: sum(counts) for key, (counts, _) in times.items()} == {
        ("create",): 2,
        ("get",): 2,
        ("get_part",): 1,
        ("get_all",): 1,
        ("put_file",): 1,
        ("put",): 1,
    }
