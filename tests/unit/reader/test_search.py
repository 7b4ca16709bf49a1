"""What a reader answers to searches."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from mishards.core.columns import decode_batch
from mishards.core.errors import (
    DeadlineExceeded,
    FieldNotFound,
    FilterError,
    ParameterTooLarge,
    StalePlan,
)
from mishards.core.ids import IndexId, LogId
from mishards.core.schema import Metric
from mishards.testing.reader_bench import (
    OTHER_PARTITION,
    PARTITION,
    Bench,
    hits,
    keys_of,
    make_rows,
    make_schema,
)

ORIGIN = [[0.0, 0.0, 0.0, 0.0]]


def line(*places: float) -> list[list[float]]:
    """Vectors at these distances from the origin."""
    return [[float(place), 0.0, 0.0, 0.0] for place in places]


def test_finds_growing_rows_at_once(run):
    async def test(bench: Bench) -> None:
        bench.write(make_rows(bench.schema, [1, 2, 3], line(3, 1, 2)))
        assert await bench.search(ORIGIN, 2) == [[(2, 1.0), (3, 4.0)]]

    run(test)


def test_merges_sealed_and_growing_rows(run):
    async def test(bench: Bench) -> None:
        segment = await bench.segment(make_rows(bench.schema, [1, 2], line(1, 4)), [50, 50])
        bench.commit(segment)
        bench.write(make_rows(bench.schema, [3, 4], line(2, 3)))
        assert keys_of(await bench.search(ORIGIN, 3)) == [[1, 3, 4]]

    run(test)


def test_text_keys_come_as_text(run):
    async def test(bench: Bench) -> None:
        segment = await bench.segment(make_rows(bench.schema, ["b", "a"], line(1, 4)), [50, 50])
        bench.commit(segment)
        bench.write(make_rows(bench.schema, ["c"], line(2)))
        assert keys_of(await bench.search(ORIGIN, 3)) == [["b", "c", "a"]]
        assert keys_of(await bench.search(ORIGIN, 3, growing=False)) == [["b", "a"]]
        assert keys_of(await bench.search(ORIGIN, 3, segments=())) == [["c"]]

    run(test, schema=make_schema(text_keys=True))


def test_automatic_ids_are_those_of_the_entry(run):
    async def test(bench: Bench) -> None:
        bench.write(make_rows(bench.schema, [], line(2, 1)), auto_id_start=900)
        assert keys_of(await bench.search(ORIGIN)) == [[901, 900]]

    run(test, schema=make_schema(auto_id=True))


@pytest.mark.parametrize("metric", list(Metric))
def test_growing_and_sealed_rows_are_measured_alike(run, metric):
    vectors = np.random.default_rng(1).normal(size=(20, 4)).astype(np.float32)
    queries = np.random.default_rng(2).normal(size=(3, 4)).astype(np.float32)

    async def test(bench: Bench) -> None:
        rows = make_rows(bench.schema, range(20), vectors)
        segment = await bench.segment(rows, [50] * 20)
        bench.commit(segment)
        bench.write(make_rows(bench.schema, range(100, 120), vectors))
        sealed = await bench.search(queries, 20, growing=False)
        growing = await bench.search(queries, 20, segments=())
        for one, other in zip(sealed, growing, strict=True):
            assert [key for key, _ in one] == [key - 100 for key, _ in other]
            assert [d for _, d in one] == pytest.approx([d for _, d in other], abs=1e-5)

    run(test, metric=metric)


def test_an_upsert_is_seen_whole_and_from_its_timestamp_on(run):
    async def test(bench: Bench) -> None:
        before = bench.write(make_rows(bench.schema, [1], line(1)))
        after = bench.write(make_rows(bench.schema, [1], line(5)), [1])
        assert await bench.search(ORIGIN, read_ts=before) == [[(1, 1.0)]]
        assert await bench.search(ORIGIN, read_ts=after - 1) == [[(1, 1.0)]]
        assert await bench.search(ORIGIN, read_ts=after) == [[(1, 25.0)]]

    run(test)


def test_deletes_hide_rows_of_open_segments(run):
    async def test(bench: Bench) -> None:
        segment = await bench.segment(make_rows(bench.schema, [1, 2], line(1, 2)), [50, 50])
        bench.commit(segment)
        assert keys_of(await bench.search(ORIGIN)) == [[1, 2]]
        deleted = bench.write(keys=[1], partition=0)
        assert keys_of(await bench.search(ORIGIN)) == [[2]]
        assert keys_of(await bench.search(ORIGIN, read_ts=deleted - 1)) == [[1, 2]]

    run(test)


def test_deletes_are_applied_to_segments_opened_later(run):
    async def test(bench: Bench) -> None:
        bench.write(keys=[1], partition=0)
        segment = await bench.segment(make_rows(bench.schema, [1, 2], line(1, 2)), [50, 50])
        bench.commit(segment)
        assert keys_of(await bench.search(ORIGIN)) == [[2]]

    run(test)


def test_delete_files_are_applied_to_segments_opened_later(run):
    async def test(bench: Bench) -> None:
        bench.deletes = (await bench.delete_file([1, 2], [60, 40]),)
        segment = await bench.segment(make_rows(bench.schema, [1, 2], line(1, 2)), [50, 50])
        bench.commit(bench.meta(), segment)
        assert keys_of(await bench.search(ORIGIN)) == [[2]]

    run(test)


def test_a_delete_file_ahead_of_the_log_reaches_open_segments(run):
    async def test(bench: Bench) -> None:
        segment = await bench.segment(make_rows(bench.schema, [1, 2], line(1, 2)), [50, 50])
        bench.checkpoint = 60
        bench.commit(bench.meta(), segment)
        assert keys_of(await bench.search(ORIGIN, read_ts=0)) == [[1, 2]]
        bench.deletes = (await bench.delete_file([1], [300]),)
        bench.checkpoint = 300
        bench.commit(bench.meta())
        assert keys_of(await bench.search(ORIGIN, read_ts=0)) == [[2]]

    run(test)


def test_a_delete_confined_to_a_partition_spares_the_others(run):
    async def test(bench: Bench) -> None:
        one = await bench.segment(make_rows(bench.schema, [1], line(1)), [50])
        other = await bench.segment(make_rows(bench.schema, [2], line(2)), [50], OTHER_PARTITION)
        bench.commit(one, other)
        bench.write(make_rows(bench.schema, [3], line(3)), partition=PARTITION)
        bench.write(make_rows(bench.schema, [4], line(4)), partition=OTHER_PARTITION)
        assert keys_of(await bench.search(ORIGIN, 9)) == [[1, 2, 3, 4]]
        bench.write(keys=[1, 2, 3, 4], partition=OTHER_PARTITION)
        assert keys_of(await bench.search(ORIGIN, 9)) == [[1, 3]]

    run(test)


def test_growing_rows_are_confined_to_the_partitions_asked_for(run):
    async def test(bench: Bench) -> None:
        bench.write(make_rows(bench.schema, [1], line(1)), partition=PARTITION)
        bench.write(make_rows(bench.schema, [2], line(2)), partition=OTHER_PARTITION)
        assert keys_of(await bench.search(ORIGIN, partitions=(OTHER_PARTITION,))) == [[2]]
        bench.partitions = bench.partitions[:1]
        bench.commit(bench.meta())
        assert keys_of(await bench.search(ORIGIN)) == [[1]]

    run(test)


def test_filters_select_sealed_and_growing_rows(run):
    async def test(bench: Bench) -> None:
        rows = make_rows(bench.schema, [1, 2], line(1, 2), ["red", "blue"], [None, 7])
        segment = await bench.segment(rows, [50, 50])
        bench.commit(segment)
        bench.write(make_rows(bench.schema, [3, 4], line(3, 4), ["blue", "red"], [7, 8]))
        for _ in range(2):
            assert keys_of(await bench.search(ORIGIN, filter='color == "blue"')) == [[2, 3]]
        found = await bench.search(ORIGIN, filter="size == {s}", templates={"s": 8})
        assert keys_of(found) == [[4]]
        assert keys_of(await bench.search(ORIGIN, filter="id in [1, 4, 99]")) == [[1, 4]]
        bench.write(keys=[2], partition=0)
        assert keys_of(await bench.search(ORIGIN, filter='color == "blue"')) == [[3]]
        assert keys_of(await bench.search(ORIGIN, filter="size > 99")) == [[]]

    run(test)


def test_a_filter_over_many_small_mutations(run):
    async def test(bench: Bench) -> None:
        for key in range(50):
            bench.write(make_rows(bench.schema, [key], line(key), sizes=[key % 7]))
        found = keys_of(await bench.search(ORIGIN, 50, filter="size == 3"))
        assert found == [[key for key in range(50) if key % 7 == 3]]
        bench.checkpoint = 100 + 10 * 20
        found = keys_of(await bench.search(ORIGIN, 50, filter="size == 3"))
        assert found == [[key for key in range(20, 50) if key % 7 == 3]]

    run(test)


def test_equal_keys_are_one_hit_the_newest(run):
    async def test(bench: Bench) -> None:
        segment = await bench.segment(make_rows(bench.schema, [1, 2], line(1, 5)), [50, 50])
        bench.commit(segment)
        bench.write(make_rows(bench.schema, [1, 3], line(2, 6)))
        assert await bench.search(ORIGIN, 3) == [[(1, 4.0), (2, 25.0), (3, 36.0)]]

    run(test)


def test_duplicates_in_one_unit_do_not_crowd_out_other_hits(run):
    async def test(bench: Bench) -> None:
        rows = make_rows(bench.schema, [1] * 6 + [2, 3], line(1, 1, 1, 1, 1, 1, 2, 3))
        segment = await bench.segment(rows, [50, 51, 52, 53, 54, 55, 50, 50])
        bench.commit(segment)
        assert keys_of(await bench.search(ORIGIN * 2, 3)) == [[1, 2, 3]] * 2
        bench.write(make_rows(bench.schema, [9] * 8 + [4], line(*[1] * 8, 1.5)))
        assert keys_of(await bench.search(ORIGIN, 4)) == [[1, 9, 4, 2]]

    run(test)


def test_output_columns_go_with_the_hits(run):
    async def test(bench: Bench) -> None:
        rows = make_rows(bench.schema, [1, 2], line(1, 4), ["a", "b"], [None, 2])
        segment = await bench.segment(rows, [50, 50])
        bench.commit(segment)
        bench.write(make_rows(bench.schema, [3], line(2), ["c"], [3]))
        bench.write(make_rows(bench.schema, [4, 5], line(9, 3), ["d", "e"], [4, 5]))
        answer = await bench.call(
            bench.search_message(ORIGIN, 4, output=("color", "vector", "size"))
        )
        assert decode_batch(answer.columns).to_pylist() == [
            {"color": "a", "vector": [1, 0, 0, 0], "size": None},
            {"color": "c", "vector": [2, 0, 0, 0], "size": 3},
            {"color": "e", "vector": [3, 0, 0, 0], "size": 5},
            {"color": "b", "vector": [4, 0, 0, 0], "size": 2},
        ]

    run(test)


def test_null_vectors_are_never_hit(run):
    async def test(bench: Bench) -> None:
        vectors = [None, *line(2), None, *line(1)]
        segment = await bench.segment(make_rows(bench.schema, [1, 2, 3, 4], vectors), [50] * 4)
        bench.commit(segment)
        bench.write(make_rows(bench.schema, [5, 6, 7, 8], vectors))
        assert keys_of(await bench.search(ORIGIN, 9)) == [[4, 8, 2, 6]]
        answer = await bench.query(keys=_keys([5, 6]), output=("vector",))
        assert decode_batch(answer.columns).column("vector").to_pylist() == [None, [2, 0, 0, 0]]

    run(test, schema=make_schema(nullable=True))


def _keys(keys: list[int]) -> bytes:
    from mishards.core.columns import encode_batch

    return encode_batch(pa.RecordBatch.from_arrays([pa.array(keys, pa.int64())], names=["id"]))


@pytest.mark.parametrize("held_hits", [1, 7 * 3 * 16, 1 << 20])
def test_many_queries_are_answered_query_by_query(run, monkeypatch, held_hits):
    monkeypatch.setattr("mishards.reader.search._HELD_HITS", held_hits)
    vectors = np.random.default_rng(1).normal(size=(60, 4)).astype(np.float32)
    queries = np.random.default_rng(2).normal(size=(40, 4)).astype(np.float32)

    async def test(bench: Bench) -> None:
        one = await bench.segment(make_rows(bench.schema, range(25), vectors[:25]), [50] * 25)
        two = await bench.segment(make_rows(bench.schema, range(25, 30), vectors[25:30]), [50] * 5)
        bench.commit(one, two)
        bench.write(make_rows(bench.schema, range(30, 60), vectors[30:]))
        distances = ((queries[:, None] - vectors[None]) ** 2).sum(-1)
        expected = np.argsort(distances, axis=1)[:, :7].tolist()
        answer = await bench.call(bench.search_message(queries, 7, output=("size",)))
        assert keys_of(hits(answer)) == expected
        sizes = decode_batch(answer.columns).column("size").to_pylist()
        assert len(sizes) == sum(len(keys) for keys in expected)

    run(test)


def test_columns_beyond_what_an_answer_holds_are_refused(run, monkeypatch):
    monkeypatch.setattr("mishards.reader.gather.MAX_ANSWER_BYTES", 40)

    async def test(bench: Bench) -> None:
        bench.write(make_rows(bench.schema, [1, 2, 3], line(3, 1, 2)))
        assert len(await bench.search(ORIGIN, 2, output=("vector",))) == 1
        said = "3 rows with the fields vector are at least 48 bytes; at most 40 are allowed"
        with pytest.raises(ParameterTooLarge, match=said):
            await bench.search(ORIGIN, 3, output=("vector",))
        with pytest.raises(ParameterTooLarge, match="3 rows with the fields id, vector"):
            await bench.query(output=("vector",))

    run(test)


def test_an_empty_reader_answers_every_query_with_nothing(run):
    async def test(bench: Bench) -> None:
        answer = await bench.call(bench.search_message(ORIGIN * 3, output=("color",)))
        assert np.frombuffer(answer.counts, np.int32).tolist() == [0, 0, 0]
        assert len(answer.columns) == 0

    run(test)


def test_an_index_is_used_once_it_is_named(run):
    vectors = np.random.default_rng(1).normal(size=(3000, 4)).astype(np.float32)

    async def test(bench: Bench) -> None:
        bench.index = bench.index_meta("HNSW", IndexId(501), M="16", efConstruction="100")
        segment = await bench.segment(make_rows(bench.schema, range(3000), vectors), [50] * 3000)
        bench.commit(bench.meta(), segment)
        exact = await bench.search(vectors[:2], 3)
        assert bench.reader.status().segments == {segment.id: "raw"}
        indexed = await bench.build(segment, vectors, bench.index)
        bench.commit(indexed)
        await bench.until(lambda: bench.reader.status().segments == {segment.id: "HNSW"})
        found = await bench.search(vectors[:2], 3, params={"ef": 200})
        assert keys_of(found) == keys_of(exact)
        bench.index = None
        bench.commit(bench.meta())
        await bench.until(lambda: bench.reader.status().segments == {segment.id: "raw"})

    run(test)


def test_waits_for_the_log_to_reach_the_read_timestamp(run):
    async def test(bench: Bench) -> None:
        message = bench.search_message(ORIGIN, read_ts=bench.now + 10)
        assert bench.reader.handle_now(message) is None
        task = bench.background(bench.search(ORIGIN, read_ts=bench.now + 10))
        await bench.settle()
        assert not task.done()
        bench.write(make_rows(bench.schema, [1], line(1)))
        assert keys_of(await task) == [[1]]

    run(test)


def test_a_tick_moves_the_applied_timestamp_only_when_no_entry_is_missing(run):
    async def test(bench: Bench) -> None:
        bench.write(make_rows(bench.schema, [1], line(1)))
        message = bench.search_message(ORIGIN, read_ts=bench.now + 5)
        bench.reader.apply_tick(LogId(0), bench.seq + 1, bench.now + 5)
        assert bench.reader.handle_now(message) is None
        bench.reader.apply_tick(LogId(0), bench.seq, bench.now + 5)
        assert bench.reader.handle_now(message) is not None

    run(test)


def test_the_deadline_ends_waiting(run):
    async def test(bench: Bench) -> None:
        with pytest.raises(DeadlineExceeded, match="the read needs 999"):
            await bench.call(bench.search_message(ORIGIN, read_ts=999), timeout_s=0.01)

    run(test)


def test_reads_the_log_on_storage_when_no_leader_tells_how_far_it_goes(run):
    caught: list[Bench] = []

    async def catch_up(log_id: LogId) -> None:
        bench = caught[0]
        bench.write(make_rows(bench.schema, [1], line(1)))

    async def test(bench: Bench) -> None:
        caught.append(bench)
        message = bench.search_message(ORIGIN, from_storage=True)
        assert bench.reader.handle_now(message) is None
        assert keys_of(await bench.search(ORIGIN, from_storage=True)) == [[1]]

    run(test, catch_up=catch_up)


def test_bad_searches_are_refused_by_name(run):
    async def test(bench: Bench) -> None:
        with pytest.raises(FilterError, match="nothing"):
            await bench.search(ORIGIN, filter="nothing == 1")
        message = bench.search_message(ORIGIN)
        with pytest.raises(FieldNotFound, match="missing"):
            await bench.call(type(message)(at=message.at, field="missing", queries=b"", nq=1, k=1))

    run(test)


def test_a_collection_that_is_gone_makes_the_plan_stale(run):
    async def test(bench: Bench) -> None:
        bench.commit(deletes=(bench.meta().key,))
        with pytest.raises(StalePlan):
            await bench.search(ORIGIN)

    run(test)
