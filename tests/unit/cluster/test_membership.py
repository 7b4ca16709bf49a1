import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from mishards.cluster.coalescing import Coalescer
from mishards.cluster.membership import Membership
from mishards.core.errors import Unavailable
from mishards.core.ids import LogId, NodeId
from mishards.discovery.memory import MemoryRegistry
from mishards.discovery.protocol import NodeInfo
from mishards.testing.stepped import SteppedRuntime
from mishards.testing.waiting import until


class FlakyRegistry(MemoryRegistry):
    error: Unavailable | None = None
    asked = 0
    answers: asyncio.Event | None = None

    async def nodes(self) -> tuple[NodeInfo, ...]:
        self.asked += 1
        if self.answers is not None:
            await self.answers.wait()
        if self.error is not None:
            raise self.error
        return await super().nodes()


def _node(
    name: str, *, role: str = "reader", ready: bool = True, leads: tuple[int, ...] = ()
) -> NodeInfo:
    return NodeInfo(
        id=NodeId(name), roles=(role,), address=f"mem://{name}", ready=ready, leads=leads
    )


Scene = Callable[[SteppedRuntime, FlakyRegistry, Membership], Coroutine[Any, Any, None]]


def _play(scene: Scene) -> None:
    async def work() -> None:
        runtime = SteppedRuntime()
        registry = FlakyRegistry(runtime, ttl_s=1000)
        membership = Membership(runtime, registry, 1.0)
        try:
            async with asyncio.timeout(20):
                await scene(runtime, registry, membership)
        finally:
            await membership.close()
            await runtime.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(work())


def _ids(membership: Membership) -> list[str]:
    return [node.id for node in membership.readers()]


def test_starting_fills_the_view_and_time_refreshes_it() -> None:
    async def scene(runtime: SteppedRuntime, registry: FlakyRegistry, here: Membership) -> None:
        await registry.announce(_node("b"))
        await here.start()
        assert _ids(here) == ["b"]
        await registry.announce(_node("a"))
        await until(lambda: runtime._sleepers)
        runtime.advance(1.2)
        await until(lambda: _ids(here) == ["a", "b"])

    _play(scene)


class TellingRegistry(FlakyRegistry):
    """It tells of changes when the test says so."""

    def __init__(self, runtime: SteppedRuntime) -> None:
        super().__init__(runtime, ttl_s=1000)
        self.told = asyncio.Event()

    async def changed(self) -> None:
        await self.told.wait()
        self.told.clear()


def test_a_registry_that_tells_of_changes_is_asked_out_of_turn() -> None:
    async def work() -> None:
        runtime = SteppedRuntime()
        registry = TellingRegistry(runtime)
        here = Membership(runtime, registry, refresh_s=3600)
        await here.start()
        for name in ("a", "b"):
            await registry.announce(_node(name))
            registry.told.set()
            await until(lambda: runtime.sleepers)
            runtime.advance(1)
            await until(lambda name=name: name in _ids(here))
        await here.close()
        await runtime.close()

    asyncio.run(work())


def test_readers_are_ready_and_read() -> None:
    async def scene(_: SteppedRuntime, registry: FlakyRegistry, here: Membership) -> None:
        for node in (_node("a"), _node("b", ready=False), _node("w", role="writer")):
            await registry.announce(node)
        await here.refresh()
        assert _ids(here) == ["a"]
        assert [node.id for node in here.view.nodes] == ["a", "b", "w"]

    _play(scene)


def test_the_version_rises_with_changes_only() -> None:
    async def scene(_: SteppedRuntime, registry: FlakyRegistry, here: Membership) -> None:
        await registry.announce(_node("a"))
        await here.refresh()
        view = here.view
        await registry.announce(_node("a"))
        await here.refresh()
        assert here.view is view
        await registry.announce(_node("a", ready=False))
        await here.refresh()
        assert here.view.version == view.version + 1

    _play(scene)


def test_an_outage_leaves_the_last_view_and_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scene(runtime: SteppedRuntime, registry: FlakyRegistry, here: Membership) -> None:
        await registry.announce(_node("a"))
        await here.start()
        registry.error = Unavailable("no registry")
        for round_ in range(5):
            await until(lambda: runtime._sleepers)
            runtime.advance(1.3)
            wanted = round_ + 2
            await until(lambda wanted=wanted: registry.asked >= wanted)  # type: ignore[misc]
        assert _ids(here) == ["a"]
        registry.error = None
        await registry.announce(_node("b"))
        await here.refresh()
        assert _ids(here) == ["a", "b"]

    with caplog.at_level(logging.INFO):
        _play(scene)
    said = [record.getMessage() for record in caplog.records]
    assert sum("no registry" in line for line in said) == 1
    assert sum("can be read again" in line for line in said) == 1


def test_a_registry_that_stands_still_is_waited_for_as_long_as_said_and_asked_once() -> None:
    async def scene(_: SteppedRuntime, registry: FlakyRegistry, here: Membership) -> None:
        registry.answers = asyncio.Event()
        await registry.announce(_node("a"))
        for _round in range(3):
            await here.refresh(0.001)
        assert registry.asked == 1
        assert _ids(here) == []
        registry.answers.set()
        await until(lambda: _ids(here) == ["a"])

    _play(scene)


def test_a_suspect_is_left_out_for_a_while() -> None:
    async def scene(runtime: SteppedRuntime, registry: FlakyRegistry, here: Membership) -> None:
        for name in ("a", "b"):
            await registry.announce(_node(name))
        await here.refresh()
        version = here.view.version
        here.suspect(NodeId("a"), 2.0)
        assert _ids(here) == ["b"]
        assert here.view.version == version + 1
        await until(lambda: runtime._sleepers)
        runtime.advance(1.0)
        here.suspect(NodeId("a"), 3.0)
        here.suspect(NodeId("a"), 0.5)
        runtime.advance(1.5)
        await until(lambda: runtime._sleepers)
        assert _ids(here) == ["b"]
        runtime.advance(1.5)
        await until(lambda: _ids(here) == ["a", "b"])
        assert here.view.version == version + 2

    _play(scene)


def test_when_all_are_suspected_all_are_tried() -> None:
    async def scene(_: SteppedRuntime, registry: FlakyRegistry, here: Membership) -> None:
        for name in ("a", "b"):
            await registry.announce(_node(name))
            here.suspect(NodeId(name), 5.0)
        await here.refresh()
        assert _ids(here) == ["a", "b"]

    _play(scene)


def test_the_leader_is_who_says_so_and_is_trusted() -> None:
    async def scene(_: SteppedRuntime, registry: FlakyRegistry, here: Membership) -> None:
        assert here.leader(LogId(0)) is None
        await registry.announce(_node("v", role="writer"))
        await registry.announce(_node("w", role="writer", leads=(0,)))
        await registry.announce(_node("x", role="writer", leads=(0, 1)))
        await here.refresh()
        found = [here.leader(LogId(log)) for log in (0, 1, 2)]
        assert [node and node.id for node in found] == ["w", "x", None]
        here.suspect(NodeId("w"), 5.0)
        here.suspect(NodeId("x"), 5.0)
        assert here.leader(LogId(1)) is not None
        await registry.withdraw(NodeId("x"))
        await here.refresh()
        assert here.leader(LogId(0)) == _node("w", role="writer", leads=(0,))

    _play(scene)


def test_who_asks_during_a_run_waits_for_the_next_and_shares_it() -> None:
    async def work() -> None:
        gate = asyncio.Event()
        runs = 0

        async def slow() -> None:
            nonlocal runs
            runs += 1
            await gate.wait()

        coalescer = Coalescer(slow)
        first = asyncio.create_task(coalescer.run())
        await until(lambda: runs == 1)
        others = [asyncio.create_task(coalescer.run()) for _ in range(10)]
        gate.set()
        await asyncio.gather(first, *others)
        assert runs == 2

    asyncio.run(work())


def test_who_joined_a_run_that_failed_makes_its_own() -> None:
    async def work() -> None:
        runs = 0

        async def failing_once() -> None:
            nonlocal runs
            runs += 1
            await asyncio.sleep(0)
            if runs == 2:
                raise Unavailable("once")

        coalescer = Coalescer(failing_once)
        results = await asyncio.gather(*(coalescer.run() for _ in range(3)), return_exceptions=True)
        assert [type(result) for result in results] == [type(None), Unavailable, type(None)]
        assert runs == 3

    asyncio.run(work())
