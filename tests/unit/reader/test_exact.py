"""Exact searches of a reader: they see what others do, and never stand in the way."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from mishards.core.errors import TooManyRequests
from mishards.core.ids import IndexId
from mishards.reader import exact
from mishards.testing.reader_bench import Bench, hits, keys_of, make_rows

ROWS = 3000


def vectors() -> np.ndarray:
    return np.random.default_rng(5).normal(size=(ROWS, 4)).astype(np.float32)


async def indexed(bench: Bench) -> None:
    """A segment with an index that looks at one list of many, and a few growing rows."""
    bench.index = bench.index_meta("IVF_FLAT", IndexId(501), nlist="64")
    data = vectors()
    segment = await bench.segment(make_rows(bench.schema, range(ROWS), data), [50] * ROWS)
    bench.commit(bench.meta(), await bench.build(segment, data, bench.index))
    await bench.until(lambda: bench.reader.status().segments == {segment.id: "IVF_FLAT"})
    bench.write(make_rows(bench.schema, [ROWS, ROWS + 1], [[9.0, 0, 0, 0], [0, 0, 0, 0]]))


def true_keys(queries: np.ndarray, k: int) -> list[list[int]]:
    data = np.concatenate([vectors(), [[9.0, 0, 0, 0], [0, 0, 0, 0]]])
    distances = ((data[None] - queries[:, None]) ** 2).sum(2)
    return np.argsort(distances, axis=1, kind="stable")[:, :k].tolist()


async def exactly(bench: Bench, queries: np.ndarray, k: int, **more: Any) -> list[list[int]]:
    message = bench.search_message(queries, k, exact=True, **more)
    return keys_of(hits(await bench.call(message, timeout_s=30.0)))


def test_it_finds_what_an_index_does_not(run) -> None:
    queries = np.random.default_rng(6).normal(size=(4, 4)).astype(np.float32)

    async def test(bench: Bench) -> None:
        await indexed(bench)
        poor = keys_of(await bench.search(queries, 10, params={"nprobe": 1}))
        assert poor != true_keys(queries, 10)
        assert await exactly(bench, queries, 10) == true_keys(queries, 10)
        found = await exactly(bench, queries, 5, filter="id < 40")
        expected = keys_of(await bench.search(queries, 5, filter="id < 40", params={"nprobe": 64}))
        assert found == expected

    run(test)


def test_it_waits_for_other_reads_and_is_refused_in_the_end(run, monkeypatch) -> None:
    monkeypatch.setattr(exact, "_STEP_NUMBERS", 400)
    queries = np.zeros((1, 4), np.float32)

    async def test(bench: Bench) -> None:
        await indexed(bench)
        message = bench.search_message(queries, 2, exact=True)
        with bench.reader._in_use.held():
            with pytest.raises(TooManyRequests, match="exact search"):
                await bench.call(message, timeout_s=0.1)
            waiting = asyncio.ensure_future(bench.call(message, timeout_s=30.0))
            await bench.until(lambda: bench.reader._exact._running)
            assert keys_of(await bench.search(queries, 1)) == [[ROWS + 1]]
            with pytest.raises(TooManyRequests, match="another"):
                await bench.call(message)
            assert not waiting.done()
        assert keys_of(hits(await waiting)) == true_keys(queries, 2)

    run(test)


def test_what_cannot_be_done_in_time_is_not_begun(run, monkeypatch) -> None:
    monkeypatch.setattr(exact, "_US_PER_NUMBER", 1e3)

    async def test(bench: Bench) -> None:
        await indexed(bench)
        message = bench.search_message(np.zeros((1, 4), np.float32), 2, exact=True)
        with pytest.raises(TooManyRequests, match=rf"an exact search of {ROWS} rows"):
            await bench.call(message, timeout_s=30.0)

    run(test)
