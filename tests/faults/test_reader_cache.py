"""A reader's cache on a full disk: a named error, no crash, and it goes on when there is space.

R14 of the reliability plan.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from mishards.reader.config import ReaderConfig
from mishards.testing.disk import no_space
from mishards.testing.reader_bench import Bench, keys_of, make_rows, run_bench

ORIGIN = [[0.0, 0.0, 0.0, 0.0]]
ROWS = 3_000


def many(bench: Bench, first: int) -> object:
    keys = list(range(first, first + ROWS))
    return make_rows(bench.schema, keys, [[float(key), 0.0, 0.0, 0.0] for key in keys])


@pytest.mark.parametrize("left_bytes", [0, 40_000])
def test_a_full_cache_is_a_named_error_until_there_is_space(
    small_disk: Path, tmp_path: Path, left_bytes: int
) -> None:
    """With nothing left not a folder can be made, with a little a file ends in the middle."""

    async def test(bench: Bench) -> None:
        cached = await bench.segment(many(bench, 0), [50] * ROWS)
        bench.commit(cached)
        assert keys_of(await bench.search(ORIGIN, 2)) == [[0, 1]]
        late = await bench.segment(many(bench, ROWS), [60] * ROWS)
        with no_space(small_disk, left_bytes):
            bench.commit(late)
            answer = await bench.call(bench.search_message(ORIGIN, 2))
            (failure,) = answer.failures
            assert (failure.unit, failure.error) == (late.id, "DiskFull")
            assert "reader's cache" in failure.message
            assert "No space left" in failure.message
            assert keys_of(await bench.search(ORIGIN, 2, segments=(cached.id,))) == [[0, 1]]
        assert (await bench.query(count=True)).count == 2 * ROWS

    run_bench(
        tmp_path, test, config=ReaderConfig(cache_dir=str(small_disk / "cache"), retention_s=0.0)
    )
    assert not list(small_disk.rglob(".partial*")), "copies that were begun are left"
