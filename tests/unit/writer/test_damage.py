"""Reports of damaged indexes: believed only when seen, and healed by another file."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mishards.core.errors import StorageError
from mishards.core.ids import SegmentId
from mishards.metadata.models import SegmentIndex, SegmentMeta
from mishards.metadata.snapshot import CollectionView
from mishards.rpc.messages import CreateIndex, DamageReply, DropIndex, ReportDamage
from mishards.testing.writer_bench import (
    Bench,
    ask,
    bench_open,
    flush,
    insert,
    make_schema,
)
from mishards.writer.build_job import InlineBuilder
from mishards.writer.writer import Writer

INDEX = CreateIndex(
    database="", collection="c", field="v", params={"index_type": "HNSW", "metric_type": "L2"}
)


async def _segment(bench: Bench) -> SegmentMeta:
    (segment,) = (await bench.view()).segments.values()
    return segment


async def _built(bench: Bench, other_than: str = "") -> SegmentIndex:
    """The segment's index, once it has one of another name."""
    async with asyncio.timeout(20):
        while True:
            found = (await _segment(bench)).indexes
            if found and found[0].name != other_than:
                return found[0]
            await asyncio.sleep(0.001)


async def _indexed(bench: Bench, **settings: Any) -> tuple[Writer, CollectionView, SegmentIndex]:
    writer = await bench.writer(build_min_rows=10, **settings)
    view = await bench.collection(writer, make_schema())
    await insert(writer, view, list(range(20)))
    await flush(writer, view.id)
    await ask(writer, INDEX)
    return writer, view, await _built(bench)


async def _report(writer: Writer, view: CollectionView, bench: Bench, name: str) -> DamageReply:
    segment = await _segment(bench)
    answer = await ask(
        writer, ReportDamage(collection=view.id, segment=segment.id, name=name, reason="bad")
    )
    assert isinstance(answer, DamageReply)
    return answer


async def _harm(bench: Bench, name: str, damage: str) -> None:
    key = f"{(await _segment(bench)).folder}/{name}"
    whole = await bench.store.get(key)
    await bench.store.delete(key)
    if damage == "flipped":
        await bench.store.put(key, whole[:40] + bytes([whole[40] ^ 1]) + whole[41:])
    elif damage != "missing":
        await bench.store.put(key, {"empty": b"", "zeros": bytes(len(whole))}[damage])


@pytest.mark.parametrize("damage", ["missing", "empty", "zeros", "flipped"])
def test_a_damaged_index_is_built_anew_under_another_name(damage: str) -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            bench.builder = InlineBuilder(bench.runtime)  # type: ignore[assignment]
            writer, view, built = await _indexed(bench)
            await _harm(bench, built.name, damage)
            answer = await _report(writer, view, bench, built.name)
            assert answer.rebuilt
            assert built.name in answer.reason
            again = await _built(bench, built.name)
            assert again.index_id == built.index_id
            data = await bench.store.get(f"{(await _segment(bench)).folder}/{again.name}")
            assert len(data) == again.size_bytes

    asyncio.run(scene())


def test_a_sound_index_stays_whatever_a_reader_says() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            bench.builder = InlineBuilder(bench.runtime)  # type: ignore[assignment]
            writer, view, built = await _indexed(bench)
            answer = await _report(writer, view, bench, built.name)
            assert answer == DamageReply(
                rebuilt=False, reason="the file is sound where it is stored"
            )
            assert (await _segment(bench)).indexes == (built,)

    asyncio.run(scene())


def test_a_whole_file_of_a_format_that_cannot_be_read_is_built_anew() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            # What this builder leaves has the right checksum and is no index.
            writer, view, built = await _indexed(bench)
            answer = await _report(writer, view, bench, built.name)
            assert answer.rebuilt
            assert "cannot be read" in answer.reason

    asyncio.run(scene())


def test_an_index_is_not_built_anew_without_a_pause() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer, view, built = await _indexed(bench, build_retry_s=3600.0)
            assert (await _report(writer, view, bench, built.name)).rebuilt
            again = await _built(bench, built.name)
            answer = await _report(writer, view, bench, again.name)
            assert answer == DamageReply(
                rebuilt=False, reason="it was built anew a short while ago"
            )
            assert (await _segment(bench)).indexes == (again,)

    asyncio.run(scene())


def test_what_metadata_does_not_name_is_left_alone() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer, view, built = await _indexed(bench)
            unknown = DamageReply(rebuilt=False, reason="metadata no longer names the file")
            assert await _report(writer, view, bench, "other.index") == unknown
            message = ReportDamage(collection=view.id, segment=SegmentId(1), name=built.name)
            assert await ask(writer, message) == unknown
            await ask(writer, DropIndex(database="", collection="c", name="v"))
            assert await _report(writer, view, bench, built.name) == unknown

    asyncio.run(scene())


def test_storage_that_does_not_answer_is_no_damage() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer, view, built = await _indexed(bench)
            bench.store.unreadable = True
            with pytest.raises(StorageError):
                await _report(writer, view, bench, built.name)
            assert (await _segment(bench)).indexes == (built,)

    asyncio.run(scene())


def test_no_index_is_built_of_damaged_vectors(caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer = await bench.writer(build_min_rows=10, build_retry_s=0.001)
            view = await bench.collection(writer, make_schema())
            await insert(writer, view, list(range(20)))
            await flush(writer, view.id)
            key = f"{(await _segment(bench)).folder}/101.vectors"
            whole = await bench.store.get(key)
            await bench.store.put(key, bytes(len(whole)))
            await ask(writer, INDEX)
            async with asyncio.timeout(20):
                while "checksum" not in caplog.text:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
            assert bench.builder.jobs == []
            assert (await _segment(bench)).indexes == ()
            await bench.store.put(key, whole)
            await _built(bench)

    asyncio.run(scene())
