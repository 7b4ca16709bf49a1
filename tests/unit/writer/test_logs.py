"""Leaders of several logs over one metadata store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from mishards.core.errors import MetadataConflict, ProtocolError
from mishards.core.ids import LogId, MetadataVersion
from mishards.rpc.messages import DdlOnce, Flush, TruncateCollection
from mishards.testing.expect import raises
from mishards.testing.writer_bench import (
    Bench,
    ask,
    bench_open,
    insert,
    make_schema,
    token,
    write_of,
)

ONE = LogId(1)


def play(scene: Callable[[Bench], Awaitable[None]]) -> None:
    async def run() -> None:
        async with bench_open() as bench:
            await scene(bench)

    asyncio.run(run())


async def two_logs(bench: Bench) -> tuple[Any, Any]:
    return await bench.writer("w0"), await bench.writer("w1", ONE)


def test_collections_are_spread_over_the_logs() -> None:
    async def scene(bench: Bench) -> None:
        first, _ = await two_logs(bench)
        for number in range(6):
            await bench.collection(first, make_schema(f"c{number}"))
        views = (await bench.snapshot()).collections.values()
        assert sorted(view.meta.log_id for view in views) == [0, 0, 0, 1, 1, 1]

    play(scene)


async def second_collection(bench: Bench, first: Any) -> Any:
    """A collection of log 1."""
    await bench.collection(first, make_schema("a"))
    view = await bench.collection(first, make_schema("b"))
    assert view.meta.log_id == ONE
    return view


def test_a_leader_learns_what_a_write_was_checked_with() -> None:
    async def scene(bench: Bench) -> None:
        first, second = await two_logs(bench)
        view = await second_collection(bench, first)
        version = (await bench.snapshot()).version
        message = write_of(view, [1, 2])
        written = await ask(second, _newer(message, version))
        assert written.timestamp > view.meta.checkpoint
        flush = Flush(collections=(view.id,), log=ONE, version=version)
        flushed = await ask(second, flush)
        assert len(flushed.segments[view.id]) == 1
        assert len((await bench.view("b")).segments) == 1

    play(scene)


def test_rows_are_newer_than_their_collection_whatever_the_clocks_say() -> None:
    async def scene(bench: Bench) -> None:
        first, second = await two_logs(bench)
        ahead = (await bench.snapshot()).version
        # The clock of the leader that makes the collection is an hour ahead.
        first._leading.allocator.pass_by(second._leading.allocator.allocate() + (3_600_000 << 18))
        view = await second_collection(bench, first)
        assert view.meta.checkpoint > second._leading.newest
        version = (await bench.snapshot()).version
        assert version > ahead
        written = await ask(second, _newer(write_of(view, [1]), version))
        assert written.timestamp > view.meta.checkpoint

    play(scene)


def test_a_write_does_not_enter_another_log() -> None:
    async def scene(bench: Bench) -> None:
        first, _ = await two_logs(bench)
        view = await second_collection(bench, first)
        message = msgspec.structs.replace(write_of(view, [1]), log=LogId(0))
        error = await raises(ProtocolError, ask(first, message))
        assert "came to log 0, not 1" in error.message

    play(scene)


def test_truncation_is_ordered_with_the_writes_of_its_log() -> None:
    async def scene(bench: Bench) -> None:
        first, second = await two_logs(bench)
        view = await second_collection(bench, first)
        version = (await bench.snapshot()).version
        before = await ask(second, _newer(write_of(view, [1]), version))
        truncate = TruncateCollection(database="", name="b", log=ONE)
        once = DdlOnce(token=token(), ddl=truncate, log=ONE, version=version)
        await ask(second, once)
        after = await ask(second, write_of(view, [2]))
        checkpoint = (await bench.view("b")).meta.checkpoint
        assert before.timestamp < checkpoint < after.timestamp
        elsewhere = TruncateCollection(database="", name="b")
        await raises(MetadataConflict, ask(first, elsewhere))

    play(scene)


def test_both_leaders_commit_metadata_whoever_was_last() -> None:
    async def scene(bench: Bench) -> None:
        first, second = await two_logs(bench)
        view = await second_collection(bench, first)
        other = await bench.view("a")
        version = (await bench.snapshot()).version
        for key in range(5):
            await ask(second, _newer(write_of(view, [key]), version))
            await insert(first, other, [key])
            await asyncio.gather(
                ask(second, Flush(collections=(view.id,), log=ONE)),
                ask(first, Flush(collections=(other.id,))),
            )
        snapshot = await bench.snapshot()
        assert len(snapshot.collections[view.id].segments) == 5
        assert len(snapshot.collections[other.id].segments) == 5

    play(scene)


def _newer(message: Any, version: MetadataVersion) -> Any:
    """The message of a proxy that knows metadata `version`."""
    return msgspec.structs.replace(message, version=version)
