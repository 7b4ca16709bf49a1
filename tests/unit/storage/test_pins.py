from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from mishards.core.errors import PinLost, StorageError
from mishards.storage.layers.fault import Fault, FaultScript, FaultyStore
from mishards.storage.memory import MemoryStore
from mishards.storage.pins import PREFIX, PinWatch, pinned
from mishards.testing.clock import VirtualRuntime, run_virtual

TTL_S = 6.0


class Bench:
    """A holder and an observer of one store, in virtual time."""

    def __init__(self) -> None:
        self.runtime = VirtualRuntime("pins")
        self.memory = MemoryStore()
        self.faults = FaultScript()
        self.store = FaultyStore(self.memory, self.faults, self.runtime)
        self.watch = PinWatch(self.memory, self.runtime)

    def pinned(self, name: str = "backup") -> Any:
        return pinned(self.store, self.runtime, name, ttl_s=TTL_S)

    async def objects(self) -> list[str]:
        return [info.key for info in await self.memory.list("")]


def run(case: Coroutine[Any, Any, None]) -> None:
    run_virtual(case)


def test_a_pin_holds_while_its_body_runs_and_no_longer() -> None:
    async def case() -> None:
        bench = Bench()
        assert await bench.watch.holding() == ()
        async with bench.pinned() as pin:
            for _ in range(20):
                assert await bench.watch.holding() == (pin.key,)
                await asyncio.sleep(TTL_S)
        assert pin.key.startswith(f"{PREFIX}backup-")
        assert await bench.watch.holding() == ()
        assert await bench.objects() == []

    run(case())


def test_a_pin_ends_when_its_body_fails() -> None:
    async def case() -> None:
        bench = Bench()
        with pytest.raises(ValueError, match="broken"):
            async with bench.pinned():
                raise ValueError("broken")
        assert await bench.objects() == []

    run(case())


def test_equal_names_do_not_disturb_each_other() -> None:
    async def case() -> None:
        bench = Bench()
        async with bench.pinned() as first:
            async with bench.pinned() as second:
                assert set(await bench.watch.holding()) == {first.key, second.key}
            assert await bench.watch.holding() == (first.key,)

    run(case())


def test_a_pin_that_stands_still_is_dropped_on_the_observers_clock() -> None:
    async def case() -> None:
        bench = Bench()
        key = f"{PREFIX}dead"
        await bench.memory.put(key, b'{"beat": 7, "ttl_s": 6.0}')
        bench.runtime.clock_offset_ms = 10**12  # wall clocks say nothing
        assert await bench.watch.holding() == (key,)
        await asyncio.sleep(TTL_S - 0.1)
        assert await bench.watch.holding() == (key,)
        await asyncio.sleep(0.2)
        assert await bench.watch.holding() == ()
        assert await bench.objects() == []

    run(case())


def test_a_pin_that_cannot_be_read_holds_for_the_usual_time() -> None:
    async def case() -> None:
        bench = Bench()
        key = f"{PREFIX}odd"
        await bench.memory.put(key, b"\xff{")
        assert await bench.watch.holding() == (key,)
        await asyncio.sleep(59.0)
        assert await bench.watch.holding() == (key,)
        await asyncio.sleep(2.0)
        assert await bench.watch.holding() == ()

    run(case())


def test_a_holder_that_cannot_renew_learns_of_it_before_the_pin_is_dropped() -> None:
    async def hold(bench: Bench) -> None:
        async with bench.pinned() as pin:
            bench.faults.add(Fault(error=StorageError), operation="*", times=1000)
            while True:
                assert await bench.watch.holding() == (pin.key,)
                await asyncio.sleep(0.05)
                pin.check()

    async def case() -> None:
        bench = Bench()
        with pytest.raises(PinLost, match="backup"):
            await hold(bench)
        assert await bench.watch.holding() != ()
        await asyncio.sleep(TTL_S)
        assert await bench.watch.holding() == ()

    run(case())


def test_a_pin_outlives_failures_shorter_than_its_time_to_live() -> None:
    async def case() -> None:
        bench = Bench()
        async with bench.pinned() as pin:
            bench.faults.add(Fault(error=StorageError), operation="put", times=3)
            for _ in range(100):
                await asyncio.sleep(TTL_S / 10)
                assert await bench.watch.holding() == (pin.key,)
        assert bench.faults.pending == 0

    run(case())


def test_a_pin_that_cannot_be_made_is_an_error_and_leaves_nothing() -> None:
    async def case() -> None:
        bench = Bench()
        bench.faults.add(Fault(error=StorageError, done=True), operation="put")
        with pytest.raises(StorageError):
            async with bench.pinned():
                pytest.fail("the body ran without a pin")
        assert await bench.objects() == []

    run(case())


def test_a_pin_that_cannot_be_removed_expires(caplog: pytest.LogCaptureFixture) -> None:
    async def case() -> None:
        bench = Bench()
        bench.faults.add(Fault(error=StorageError), operation="delete")
        async with bench.pinned() as pin:
            pass
        assert await bench.watch.holding() == (pin.key,)
        await asyncio.sleep(TTL_S)
        assert await bench.watch.holding() == ()

    run(case())
    assert "stays until it expires" in caplog.text
