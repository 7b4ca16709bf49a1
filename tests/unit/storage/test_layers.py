from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from mishards.core.errors import DiskFull, ObjectExists, ObjectNotFound, StorageError
from mishards.core.runtime import SystemRuntime
from mishards.storage.layers.count import CountingStore
from mishards.storage.layers.fault import Fault, FaultScript, FaultyStore
from mishards.storage.layers.retry import RetryingStore
from mishards.storage.memory import MemoryStore
from mishards.testing.expect import raises


class SleeplessRuntime(SystemRuntime):
    """Notes pauses instead of making them."""

    def __init__(self) -> None:
        super().__init__(seed=1, threads=1)
        self.pauses: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)


class Stack:
    """Retries over counts over faults over memory."""

    def __init__(self) -> None:
        self.runtime = SleeplessRuntime()
        self.memory = MemoryStore()
        self.faults = FaultScript()
        self.counted = CountingStore(FaultyStore(self.memory, self.faults, self.runtime))
        self.store = RetryingStore(self.counted, self.runtime, attempts=3)

    def run(self, case: Callable[[], Awaitable[None]]) -> None:
        async def main() -> None:
            try:
                await case()
            finally:
                await self.runtime.close()

        asyncio.run(main())


@pytest.fixture
def stack() -> Stack:
    return Stack()


def test_a_passing_failure_is_repeated(stack: Stack, caplog: pytest.LogCaptureFixture) -> None:
    stack.faults.add(Fault(error=StorageError), times=2)

    async def case() -> None:
        await stack.store.put("a", b"1")
        assert await stack.memory.get("a") == b"1"

    with caplog.at_level(logging.WARNING):
        stack.run(case)
    assert stack.counted.calls == {"put": 3}
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    assert 0.025 <= stack.runtime.pauses[0] <= 0.075
    assert 0.05 <= stack.runtime.pauses[1] <= 0.15


def test_a_lasting_failure_is_raised_after_the_last_attempt(stack: Stack) -> None:
    stack.faults.add(Fault(error=StorageError), times=99)

    async def case() -> None:
        await raises(StorageError, stack.store.get("a"))
        await raises(StorageError, stack.store.list(""))
        await raises(StorageError, stack.store.delete("a"))

    stack.run(case)
    assert stack.counted.calls == {"get": 3, "list": 3, "delete": 3}


@pytest.mark.parametrize("error", [ObjectNotFound, DiskFull])
def test_what_repeating_does_not_help_is_raised_at_once(
    stack: Stack, error: type[StorageError]
) -> None:
    stack.faults.add(Fault(error=error), times=9)

    async def case() -> None:
        await raises(error, stack.store.get("a"))

    stack.run(case)
    assert stack.counted.calls == {"get": 1}


def test_create_is_never_repeated(stack: Stack) -> None:
    stack.faults.add(Fault(error=StorageError, done=True), operation="create")

    async def case() -> None:
        await raises(StorageError, stack.store.create("a", b"1"))
        assert await stack.memory.get("a") == b"1"
        await raises(ObjectExists, stack.store.create("a", b"1"))

    stack.run(case)
    assert stack.counted.calls == {"create": 2}


def test_a_file_that_is_gone_is_not_stored_again(stack: Stack, tmp_path: Path) -> None:
    stack.faults.add(Fault(error=StorageError), operation="put_file", times=9)
    (tmp_path / "here").write_bytes(b"1")

    async def case() -> None:
        await raises(StorageError, stack.store.put_file("a", tmp_path / "gone"))
        assert stack.counted.calls == {"put_file": 1}
        await raises(StorageError, stack.store.put_file("a", tmp_path / "here"))
        assert stack.counted.calls == {"put_file": 4}

    stack.run(case)


def test_faults_fit_operation_and_key_and_are_used_up(stack: Stack) -> None:
    stack.faults.add(Fault(error=DiskFull), operation="create", key="log/*")
    stack.faults.add(Fault(delay_s=2.5), operation="get")

    async def case() -> None:
        await stack.counted.create("other", b"")
        error = await raises(DiskFull, stack.counted.create("log/0/1", b""))
        assert "'log/0/1'" in error.message
        await stack.counted.create("log/0/1", b"")
        assert stack.faults.pending == 1
        await stack.counted.get("other")
        assert stack.runtime.pauses == [2.5]
        assert stack.faults.pending == 0

    stack.run(case)


def test_a_torn_write_stores_its_beginning_and_fails(stack: Stack) -> None:
    stack.faults.add(Fault(keep_bytes=2), operation="create")
    stack.faults.add(Fault(keep_bytes=0, error=DiskFull), operation="put")

    async def case() -> None:
        await raises(StorageError, stack.counted.create("a", b"12345"))
        assert await stack.memory.get("a") == b"12"
        await raises(DiskFull, stack.counted.put("b", b"12345"))
        assert await stack.memory.get("b") == b""

    stack.run(case)


def test_counts_bytes(stack: Stack) -> None:
    async def case() -> None:
        await stack.counted.create("a", b"123")
        await stack.counted.put("b", b"45")
        await stack.counted.get("a")
        assert (stack.counted.bytes_written, stack.counted.bytes_read) == (5, 3)
        stack.counted.reset()
        assert (stack.counted.bytes_written, stack.counted.bytes_read) == (0, 0)
        assert not stack.counted.calls

    stack.run(case)
