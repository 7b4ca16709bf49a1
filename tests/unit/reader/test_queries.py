"""What a reader answers to queries and fetches."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from mishards.core.columns import decode_batch, encode_batch
from mishards.core.errors import FieldNotFound, FilterError, InvalidParameter, StalePlan
from mishards.reader.config import ReaderConfig
from mishards.testing.reader_bench import Bench, make_rows, make_schema

ORIGIN = [[0.0, 0.0, 0.0, 0.0]]


def line(*places: float) -> list[list[float]]:
    """Vectors at these distances from the origin."""
    return [[float(place), 0.0, 0.0, 0.0] for place in places]


def wanted(*keys: object) -> bytes:
    return encode_batch(pa.RecordBatch.from_arrays([pa.array(keys)], names=["id"]))


async def filled(bench: Bench) -> list[int]:
    """Sealed 5, 1, 3 and growing 4, 2; gives the growing rows' timestamps."""
    rows = make_rows(bench.schema, [5, 1, 3], line(5, 1, 3), ["e", "a", "c"], [5, None, 3])
    segment = await bench.segment(rows, [50, 51, 52])
    bench.commit(segment)
    return [
        bench.write(make_rows(bench.schema, [4], line(4), ["d"], [4])),
        bench.write(make_rows(bench.schema, [2], line(2), ["b"], [2])),
    ]


def test_rows_come_by_primary_key_with_their_timestamps(run):
    async def test(bench: Bench) -> None:
        first, second = await filled(bench)
        answer = await bench.query(output=("color", "size"))
        assert decode_batch(answer.columns).to_pydict() == {
            "id": [1, 2, 3, 4, 5],
            "color": ["a", "b", "c", "d", "e"],
            "size": [None, 2, 3, 4, 5],
            "$ts": [51, second, 52, first, 50],
        }

    run(test)


def test_filter_keys_and_limit_restrict_together(run):
    async def test(bench: Bench) -> None:
        await filled(bench)

        async def keys(**more: object) -> list[int]:
            return decode_batch((await bench.query(**more)).columns).column("id").to_pylist()

        assert await keys(limit=2) == [1, 2]
        assert await keys(filter="size >= 3") == [3, 4, 5]
        assert await keys(filter="size >= 3", limit=1) == [3]
        assert await keys(keys=wanted(5, 2, 77)) == [2, 5]
        assert await keys(keys=wanted(5, 2), filter="size < 4") == [2]
        assert await keys(filter="id in [1, 4]") == [1, 4]
        assert await keys(filter="size > 100") == []
        bench.write(keys=[1, 4], partition=0)
        assert await keys() == [2, 3, 5]
        assert await keys(keys=wanted(1, 2)) == [2]

    run(test)


def test_counts_need_no_rows(run):
    async def test(bench: Bench) -> None:
        await filled(bench)
        assert (await bench.query(count=True)).count == 5
        assert (await bench.query(count=True, filter="size >= 3")).count == 3
        assert (await bench.query(count=True, keys=wanted(1, 2, 77))).count == 2
        bench.write(keys=[1, 2], partition=0)
        assert (await bench.query(count=True)).count == 3
        assert len((await bench.query(count=True)).columns) == 0

    run(test)


def test_equal_keys_are_one_row_the_newest(run):
    async def test(bench: Bench) -> None:
        rows = make_rows(bench.schema, [1, 1, 2], line(1, 2, 3), ["old", "mid", "two"])
        segment = await bench.segment(rows, [50, 51, 50])
        bench.commit(segment)
        bench.write(make_rows(bench.schema, [1], line(4), ["new"]))
        answer = await bench.query(output=("color",), limit=2)
        assert decode_batch(answer.columns).column("color").to_pylist() == ["new", "two"]

    run(test)


def test_text_keys_are_found_and_sorted(run):
    async def test(bench: Bench) -> None:
        segment = await bench.segment(make_rows(bench.schema, ["b", "ä"], line(1, 2)), [50, 50])
        bench.commit(segment)
        bench.write(make_rows(bench.schema, ["a", "c"], line(3, 4)))
        answer = await bench.query()
        assert decode_batch(answer.columns).column("id").to_pylist() == ["a", "b", "c", "ä"]
        answer = await bench.query(keys=wanted("c", "ä", "zz"))
        assert decode_batch(answer.columns).column("id").to_pylist() == ["c", "ä"]

    run(test, schema=make_schema(text_keys=True))


def test_nothing_found_still_has_columns(run):
    async def test(bench: Bench) -> None:
        answer = await bench.query(output=("vector", "size"))
        batch = decode_batch(answer.columns)
        assert batch.num_rows == 0
        assert batch.schema.names == ["id", "vector", "size", "$ts"]

    run(test)


def test_bad_queries_are_refused_by_name(run):
    async def test(bench: Bench) -> None:
        with pytest.raises(FieldNotFound, match="missing"):
            await bench.query(output=("missing",))
        with pytest.raises(FilterError, match="nothing"):
            await bench.query(filter="nothing == 1")

    run(test)


def test_fetch_gives_hits_of_a_search_in_their_order(run):
    async def test(bench: Bench) -> None:
        await filled(bench)
        found = await bench.call(bench.search_message(ORIGIN, 5))
        units = np.frombuffer(found.units, np.int64)
        offsets = np.frombuffer(found.offsets, np.int64)
        for order in ([0, 1, 2, 3, 4], [4, 0, 3, 1, 2, 2], [1], [0, 2]):
            rows = await bench.fetch(units[order], offsets[order], "color", "vector")
            assert decode_batch(rows.columns).to_pydict() == {
                "color": ["abcde"[place] for place in order],
                "vector": [[float(place + 1), 0, 0, 0] for place in order],
            }

    run(test)


def test_fetch_finds_growing_rows_by_mutation_and_offset(run):
    async def test(bench: Bench) -> None:
        bench.write(make_rows(bench.schema, [1, 2], line(1, 2), ["a", "b"]))
        second = bench.write(make_rows(bench.schema, [3, 4], line(3, 4), ["c", "d"]))
        rows = await bench.fetch([-second, -second], [1, 0], "id", "color")
        assert decode_batch(rows.columns).to_pydict() == {"id": [4, 3], "color": ["d", "c"]}
        for unit, offset in ((-second, 2), (-second - 1, 0), (-second + 1, 0)):
            with pytest.raises(StalePlan, match="no longer kept"):
                await bench.fetch([unit], [offset], "color")

    run(test)


def test_fetch_of_what_is_gone_asks_for_a_new_plan(run):
    async def test(bench: Bench) -> None:
        first = bench.write(make_rows(bench.schema, [1], line(1)))
        bench.checkpoint = bench.now
        bench.commit(bench.meta())
        held = bench.reader.held(bench.meta().id)
        await bench.until(lambda: held.rows.view.rows == 0)
        with pytest.raises(StalePlan, match="no longer kept"):
            await bench.fetch([-first], [0], "color")
        with pytest.raises(StalePlan, match="replaced or dropped"):
            await bench.fetch([4711], [0], "color")

    run(test, config=ReaderConfig(retention_s=0.0, housekeeping_s=0.001))


def test_a_fetch_of_rows_that_never_were_is_refused(run):
    async def test(bench: Bench) -> None:
        await filled(bench)
        (segment,) = bench.segments
        with pytest.raises(InvalidParameter, match="row 3 was asked for"):
            await bench.fetch([segment], [3], "color")
        with pytest.raises(InvalidParameter, match="units"):
            await bench.fetch([segment], [0, 1], "color")
        with pytest.raises(FieldNotFound, match="missing"):
            await bench.fetch([segment], [0], "missing")

    run(test)
