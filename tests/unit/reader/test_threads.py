"""Searches from other threads while the log is applied."""

from __future__ import annotations

import asyncio

import numpy as np

from mishards.testing.reader_bench import Bench, hits, make_rows

ROWS = 8


def test_a_search_in_another_thread_sees_every_upsert_whole(run):
    """All rows are replaced again and again; each state has each key once, with one size."""
    vectors = np.arange(ROWS * 4, dtype=np.float32).reshape(ROWS, 4)
    stop = [False]

    def search_on(bench: Bench) -> int:
        done = 0
        while not stop[0]:
            at = bench.at(read_ts=bench.reader.status().applied_ts[0])
            message = bench.search_message(vectors[:1], ROWS + 5, at=at, output=("size",))
            answer = bench.reader.handle_now(message)
            assert answer is not None
            assert sorted(key for key, _ in hits(answer)[0]) == list(range(ROWS))
            assert len(set(np.frombuffer(answer.timestamps, np.int64).tolist())) == 1
            done += 1
        return done

    async def test(bench: Bench) -> None:
        rows = make_rows(bench.schema, range(ROWS), vectors)
        segment = await bench.segment(rows, [50] * ROWS)
        bench.commit(segment)
        await bench.search(vectors[:1])
        searching = asyncio.gather(*(asyncio.to_thread(search_on, bench) for _ in range(2)))
        for step in range(400):
            if searching.done():
                break
            bench.write(rows, range(ROWS))
            if step % 20 == 0:
                await asyncio.sleep(0)
        stop[0] = True
        assert min(await searching) > 0

    run(test)
