"""Rows that have outlived their collection's TTL are in no answer."""

from __future__ import annotations

import pyarrow as pa
import pytest

from mishards.core.columns import encode_batch
from mishards.core.errors import StalePlan
from mishards.testing.reader_bench import Bench, keys_of, make_rows

ORIGIN = [[0.0, 0.0, 0.0, 0.0]]


def line(*places: float) -> list[list[float]]:
    return [[float(place), 0.0, 0.0, 0.0] for place in places]


async def rows_of_all_ages(bench: Bench) -> None:
    """Keys 1 and 2 sealed at 50 and 60; 3, 4 and 5 growing at 110, 120 and 130."""
    bench.commit(await bench.segment(make_rows(bench.schema, [1, 2], line(1, 2)), [50, 60]))
    bench.checkpoint = 100
    bench.commit(bench.meta())
    for key in (3, 4, 5):
        bench.write(make_rows(bench.schema, [key], line(key)))


@pytest.mark.parametrize(
    ("expired", "left"),
    [
        (0, [1, 2, 3, 4, 5]),
        (49, [1, 2, 3, 4, 5]),
        (50, [2, 3, 4, 5]),
        (60, [3, 4, 5]),
        (109, [3, 4, 5]),
        (120, [5]),
        (130, []),
        (10**6, []),
    ],
)
def test_expired_rows_are_in_no_answer(run, expired, left):
    async def test(bench: Bench) -> None:
        await rows_of_all_ages(bench)
        assert keys_of(await bench.search(ORIGIN, 9, expired=expired)) == [left]
        assert keys_of(await bench.search(ORIGIN, 9, filter="id >= 0", expired=expired)) == [left]
        assert (await bench.query(count=True, expired=expired)).count == len(left)
        found = await bench.query(count=True, filter="id != 2", expired=expired)
        assert found.count == len(set(left) - {2})
        keys = pa.RecordBatch.from_arrays([pa.array([1, 2, 3, 4, 5])], names=["id"])
        asked = await bench.query(keys=encode_batch(keys), count=True, expired=expired)
        assert asked.count == len(left)

    run(test)


def test_deleted_rows_stay_deleted_among_those_that_live(run):
    async def test(bench: Bench) -> None:
        await rows_of_all_ages(bench)
        bench.write(keys=[2, 5], partition=0)
        assert keys_of(await bench.search(ORIGIN, 9, expired=50)) == [[3, 4]]
        assert (await bench.query(count=True, expired=50)).count == 2

    run(test)


def test_of_two_rows_with_one_key_the_one_that_lives_counts(run):
    async def test(bench: Bench) -> None:
        await rows_of_all_ages(bench)
        bench.write(make_rows(bench.schema, [1], line(9)))
        assert keys_of(await bench.search(ORIGIN, 9, expired=60)) == [[3, 4, 5, 1]]

    run(test)


def test_a_plan_of_before_what_is_kept_is_stale_whatever_has_expired(run):
    async def test(bench: Bench) -> None:
        bench.checkpoint = 100
        bench.start(bench.meta())
        with pytest.raises(StalePlan):
            await bench.search(ORIGIN, checkpoint=90, expired=120)

    run(test, started=False)
