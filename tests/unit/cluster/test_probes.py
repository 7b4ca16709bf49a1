"""What nodes leave on storage for each other, as it is found on other machines."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from mishards.cluster.probes import Probes
from mishards.core.errors import StorageUnfit
from mishards.core.ids import NodeId
from mishards.discovery.protocol import NodeInfo
from mishards.storage.memory import MemoryStore
from mishards.testing.expect import raises
from mishards.testing.stepped import SteppedRuntime
from mishards.testing.waiting import until

DAY_S = 24 * 3600.0


def writer(name: str, host: str, role: str = "writer") -> NodeInfo:
    return NodeInfo(id=NodeId(name), roles=(role,), address=f"mem://{name}", host=host)


def play(case: Callable[[SteppedRuntime, MemoryStore, Probes], Awaitable[None]]) -> None:
    async def main() -> None:
        runtime, store = SteppedRuntime(), MemoryStore()
        async with asyncio.timeout(20):
            await case(runtime, store, Probes(store, runtime, "folder '/srv/data'"))
        await runtime.close()

    asyncio.run(main())


async def stepped(runtime: SteppedRuntime, work: Awaitable[None]) -> None:
    """Let time pass as often as `work` waits for it."""
    task = asyncio.ensure_future(work)
    while not task.done():
        await until(lambda: task.done() or runtime.sleepers)
        runtime.advance(1.0)
    await task


def test_a_writer_elsewhere_is_known_by_what_it_left_until_it_takes_it_away() -> None:
    async def case(runtime: SteppedRuntime, store: MemoryStore, probes: Probes) -> None:
        for name in ("w1", "tcp://10.0.0.1:5", "ä b"):
            await probes.leave(NodeId(name), "there")
            await probes.check([writer(name, "there")], "here")
            await probes.remove(NodeId(name))
        assert await store.list("") == []

    play(case)


def test_storage_without_a_writer_that_runs_elsewhere_is_refused() -> None:
    async def case(runtime: SteppedRuntime, _: MemoryStore, probes: Probes) -> None:
        nodes = [writer("w1", "there")]
        error = await raises(StorageUnfit, stepped(runtime, probes.check(nodes, "here")))
        for named in ("'/srv/data'", "'w1'", "'there'", "mounted"):
            assert named in error.message

    play(case)


def test_what_comes_to_sight_late_is_waited_for() -> None:
    async def case(runtime: SteppedRuntime, _: MemoryStore, probes: Probes) -> None:
        looking = asyncio.ensure_future(probes.check([writer("w1", "there")], "here"))
        await until(lambda: runtime.sleepers)
        await probes.leave(NodeId("w1"), "there")
        await stepped(runtime, looking)

    play(case)


def test_nobody_is_missed_of_this_machine_of_other_roles_or_without_a_host() -> None:
    async def case(_: SteppedRuntime, __: MemoryStore, probes: Probes) -> None:
        nodes = [writer("w1", "here"), writer("r1", "there", "reader"), writer("w2", "")]
        await probes.check(nodes, "here")

    play(case)


@pytest.mark.parametrize("damage", [lambda data: data[:-5], lambda data: data[:9] + b"~"])
def test_what_is_not_seen_as_it_was_written_is_refused(damage: Callable[[bytes], bytes]) -> None:
    async def case(runtime: SteppedRuntime, store: MemoryStore, probes: Probes) -> None:
        await probes.leave(NodeId("w1"), "there")
        (info,) = await store.list("probes/")
        data = await store.get(info.key)
        await store.put(info.key, damage(data) + data[10:])
        error = await raises(StorageUnfit, stepped(runtime, probes.check([], "here")))
        assert info.key in error.message

    play(case)


def test_a_living_writer_renews_and_what_a_dead_one_left_goes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def case(runtime: SteppedRuntime, store: MemoryStore, probes: Probes) -> None:
        for name in ("dead", "lives"):
            await probes.leave(NodeId(name), "there")
        renewing = runtime.spawn(probes.renew(NodeId("lives"), "there"), "renewing")
        for _ in range(4):
            await until(lambda: runtime.sleepers)
            runtime.advance(DAY_S)
        await until(lambda: runtime.sleepers)
        await probes.check([], "here")
        assert [info.key for info in await store.list("")] == ["probes/nlives"]
        renewing.cancel()

    with caplog.at_level(logging.WARNING):
        play(case)
    assert not caplog.records
