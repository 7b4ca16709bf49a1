"""Copies of segments that a reader keeps: over a restart, and within a limit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mishards.core.ids import IndexId
from mishards.metadata.models import SegmentMeta
from mishards.reader.cache import CacheFull
from mishards.reader.config import ReaderConfig
from mishards.storage.layers.count import CountingStore
from mishards.storage.memory import MemoryStore
from mishards.testing.reader_bench import COLLECTION, Bench, keys_of, make_rows, run_bench

ORIGIN = [[0.0, 0.0, 0.0, 0.0]]
ROWS = 200

Run = Callable[..., None]


async def segment(bench: Bench, first: int) -> SegmentMeta:
    """A segment whose nearest row to the origin is `first`."""
    keys = list(range(first, first + ROWS))
    rows = make_rows(bench.schema, keys, [[float(key), 0.0, 0.0, 0.0] for key in keys])
    return await bench.segment(rows, [50] * ROWS)


async def indexed(bench: Bench, made: SegmentMeta) -> SegmentMeta:
    """The first segment with an index."""
    vectors = [[float(key), 0.0, 0.0, 0.0] for key in range(ROWS)]
    assert bench.index is not None
    return await bench.build(made, vectors, bench.index)


def raw_bytes(run: Run) -> int:
    """What a segment takes, without an index."""
    sizes: list[int] = []

    async def measure(bench: Bench) -> None:
        sizes.append((await segment(bench, 0)).size_bytes)

    run(measure)
    return sizes[0]


async def nearest(bench: Bench, *segments: SegmentMeta) -> list[int]:
    """The key that a search of each segment finds."""
    found = []
    for one in segments:
        answer = await bench.search(ORIGIN, 1, segments=(one.id,))
        found.extend(keys_of(answer)[0])
    return found


def cached(folder: Path) -> set[str]:
    """The segments of which there are copies, by the part of the folder they lie in."""
    return {
        f"{path.parts[-5]}: {path.parent.name}"
        for path in folder.rglob("segments/*/*/manifest.json")
    }


def copied_bytes(folder: Path) -> int:
    return sum(
        path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file() and path.name not in (".lock", "manifest.json")
    )


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def store() -> CountingStore:
    return CountingStore(MemoryStore())


@pytest.mark.parametrize("verify", ["open", "never"])
@pytest.mark.parametrize("harm", [False, True])
def test_a_restarted_reader_uses_what_is_there(
    run: Run, store: CountingStore, cache: Path, verify: Any, harm: bool
) -> None:
    config = ReaderConfig(cache_dir=str(cache), verify=verify)
    kept: list[Any] = []

    async def fill(bench: Bench) -> None:
        made = await segment(bench, 3)
        bench.deletes = (await bench.delete_file([3], [60]),)
        bench.commit(bench.meta(), made)
        assert await nearest(bench, made) == [4]
        kept.extend((bench.meta(), made))

    async def again(bench: Bench) -> None:
        bench.commit(*kept)
        assert await nearest(bench, kept[1]) == [4]

    run(fill, store=lambda runtime: store, config=config)
    if harm:
        (vectors,) = cache.rglob("*.vectors")
        vectors.write_bytes(bytes(vectors.stat().st_size))
    store.reset()
    run(again, store=lambda runtime: store, config=config)
    # Whether or not files are verified later, those that an earlier reader left are.
    assert bool(store.calls["get"]) == harm


def test_what_metadata_does_not_name_any_more_goes(
    run: Run, store: CountingStore, cache: Path
) -> None:
    config = ReaderConfig(cache_dir=str(cache), housekeeping_s=0.001)
    kept: list[SegmentMeta] = []

    async def fill(bench: Bench) -> None:
        kept.extend([await segment(bench, 0), await segment(bench, ROWS)])
        bench.deletes = (await bench.delete_file([9999], [60]),)
        bench.commit(bench.meta(), *kept)
        assert await nearest(bench, *kept) == [0, ROWS]
        assert cached(cache) == {f"0: {one.id}" for one in kept}

    async def again(bench: Bench) -> None:
        bench.commit(bench.meta(), kept[1])
        assert await nearest(bench, kept[1]) == [ROWS]
        await bench.until(lambda: cached(cache) == {f"0: {kept[1].id}"})
        await bench.until(lambda: not list(cache.rglob("*.deletes")))

    run(fill, store=lambda runtime: store, config=config)
    run(again, store=lambda runtime: store, config=config)


def test_within_a_limit_every_segment_can_be_read(
    run: Run, store: CountingStore, cache: Path
) -> None:
    async def test(bench: Bench) -> None:
        made = [await segment(bench, number * ROWS) for number in range(4)]
        bench.commit(*made)
        for _ in range(2):
            assert await nearest(bench, *made) == [0, ROWS, 2 * ROWS, 3 * ROWS]
            assert copied_bytes(cache) <= limit
        # One read goes over all of them, and each is there until it ends.
        assert keys_of(await bench.search(ORIGIN, 1)) == [[0]]
        assert (await bench.query(count=True)).count == 4 * ROWS
        # What was read last is there, and read from there.
        await nearest(bench, made[2], made[1], made[2])
        store.reset()
        assert await nearest(bench, made[1], made[2]) == [ROWS, 2 * ROWS]
        assert not store.calls["get"]

    limit = int(2.5 * raw_bytes(run))
    config = ReaderConfig(cache_dir=str(cache), cache_bytes=limit)
    run(test, store=lambda runtime: store, config=config)


def test_what_is_larger_than_the_limit_is_refused_by_name(
    run: Run, store: CountingStore, cache: Path
) -> None:
    async def test(bench: Bench) -> None:
        made = await segment(bench, 0)
        bench.commit(made)
        answer = await bench.call(bench.search_message(ORIGIN, 1))
        (failure,) = answer.failures
        assert (failure.unit, failure.error) == (made.id, "DiskFull")
        assert "reader.cache_bytes" in failure.message
        assert cached(cache) == set()

    config = ReaderConfig(cache_dir=str(cache), cache_bytes=1000)
    run(test, store=lambda runtime: store, config=config)


def test_a_segment_that_could_not_be_opened_again_makes_no_room(
    run: Run, store: CountingStore, cache: Path
) -> None:
    """A read that was planned before a compaction finds what it was planned on."""

    async def test(bench: Bench) -> None:
        old, new = await segment(bench, 0), await segment(bench, ROWS)
        bench.commit(old)
        assert await nearest(bench, old) == [0]
        bench.commit(new, deletes=(old.key,))
        answer = await bench.call(bench.search_message(ORIGIN, 1, segments=(old.id, new.id)))
        assert [failure.unit for failure in answer.failures] == [new.id]
        assert await nearest(bench, old) == [0]

    config = ReaderConfig(cache_dir=str(cache), cache_bytes=int(1.5 * raw_bytes(run)))
    run(test, store=lambda runtime: store, config=config)


def test_a_segment_that_was_being_opened_ahead_gets_its_room_once_it_is_asked_for(
    run: Run, store: CountingStore, cache: Path
) -> None:
    async def test(bench: Bench) -> None:
        first, second = await segment(bench, 0), await segment(bench, ROWS)
        bench.commit(first, second)
        assert await nearest(bench, first) == [0]
        opener, state = bench.reader._opener, bench.reader._holdings.states[COLLECTION]
        ahead = asyncio.create_task(opener.open(state, second.id, ahead=True))
        await asyncio.sleep(0)
        assert await nearest(bench, second) == [ROWS]
        with pytest.raises(CacheFull):
            await ahead
        assert set(state.open) == {second.id}

    config = ReaderConfig(cache_dir=str(cache), cache_bytes=int(1.5 * raw_bytes(run)))
    run(test, store=lambda runtime: store, config=config, serves=lambda view: frozenset())


def test_an_index_that_is_built_later_gets_its_room(
    run: Run, store: CountingStore, cache: Path
) -> None:
    async def test(bench: Bench) -> None:
        bench.index = bench.index_meta("HNSW", IndexId(501))
        first, second = await segment(bench, 0), await segment(bench, ROWS)
        bench.commit(bench.meta(), first, second)
        assert await nearest(bench, second, first) == [ROWS, 0]
        bench.commit(await indexed(bench, first))
        await bench.until(lambda: bench.reader.status().segments == {first.id: "HNSW"})
        assert await nearest(bench, first, second) == [0, ROWS]

    sizes: list[int] = []

    async def measure(bench: Bench) -> None:
        bench.index = bench.index_meta("HNSW", IndexId(501))
        made = await indexed(bench, await segment(bench, 0))
        sizes.append(made.size_bytes + made.indexes[0].size_bytes)

    run(measure)
    # Room for the one with its index, or for both without.
    config = ReaderConfig(cache_dir=str(cache), cache_bytes=sizes[0] + 1)
    run(test, store=lambda runtime: store, config=config, serves=lambda view: frozenset())


def test_readers_that_share_a_folder_keep_apart(run: Run, tmp_path: Path, cache: Path) -> None:
    config = ReaderConfig(cache_dir=str(cache))

    async def other(bench: Bench) -> None:
        made = await segment(bench, 0)
        bench.commit(made)
        assert await nearest(bench, made) == [0]

    async def test(bench: Bench) -> None:
        made = await segment(bench, 5)
        bench.commit(made)
        assert await nearest(bench, made) == [5]
        await bench.runtime.blocking(lambda: run_bench(tmp_path / "other", other, config=config))
        assert await nearest(bench, made) == [5]
        assert len(cached(cache)) == 2

    run(test, config=config)
