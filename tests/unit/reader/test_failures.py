"""What a reader does when files are damaged, missing, or storage fails."""

from __future__ import annotations

import numpy as np
import pytest

from mishards.core.columns import decode_batch
from mishards.core.ids import IndexId
from mishards.reader.config import ReaderConfig
from mishards.segments.layout import COLUMNS, MANIFEST
from mishards.storage.local import LocalStore
from mishards.testing.reader_bench import Bench, hits, keys_of, make_rows

ORIGIN = [[0.0, 0.0, 0.0, 0.0]]


def line(*places: float) -> list[list[float]]:
    """Vectors at these distances from the origin."""
    return [[float(place), 0.0, 0.0, 0.0] for place in places]


def flipped(data: bytes, place: int) -> bytes:
    """With one bit changed."""
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.parametrize("name", [COLUMNS, MANIFEST, "101.vectors"])
@pytest.mark.parametrize("local", [True, False])
@pytest.mark.parametrize("damage", ["missing", "cut short"])
def test_a_broken_segment_fails_alone(run, tmp_path, name, local, damage):
    async def test(bench: Bench) -> None:
        good = await bench.segment(make_rows(bench.schema, [1], line(1)), [50])
        bad = await bench.segment(make_rows(bench.schema, [2], line(2)), [50])
        key = f"{bad.folder}/{name}"
        whole = await bench.store.get(key)
        await bench.store.delete(key)
        if damage != "missing":
            await bench.store.put(key, whole[: len(whole) // 2])
        bench.commit(good, bad)
        answer = await bench.call(bench.search_message(ORIGIN))
        assert keys_of(hits(answer)) == [[1]]
        (failure,) = answer.failures
        assert failure.unit == bad.id
        assert failure.error == ("SegmentNotFound" if damage == "missing" else "CorruptObject")
        assert name in failure.message
        rows = await bench.query(output=("color",))
        assert decode_batch(rows.columns).column("id").to_pylist() == [1]
        assert [f.unit for f in rows.failures] == [bad.id]
        await bench.store.put(key, whole)
        assert keys_of(await bench.search(ORIGIN)) == [[1, 2]]

    store = (lambda runtime: LocalStore(tmp_path / "store", runtime)) if local else None
    run(test, store=store)


@pytest.mark.parametrize("damage", ["missing", "cut short", "flipped"])
def test_a_broken_index_costs_speed_not_the_answer(run, caplog, damage):
    vectors = np.random.default_rng(1).normal(size=(50, 4)).astype(np.float32)

    async def test(bench: Bench) -> None:
        bench.index = bench.index_meta("HNSW", IndexId(501))
        segment = await bench.segment(make_rows(bench.schema, range(50), vectors), [50] * 50)
        indexed = await bench.build(segment, vectors, bench.index)
        key = f"{segment.folder}/{indexed.indexes[0].name}"
        whole = await bench.store.get(key)
        await bench.store.delete(key)
        if damage == "cut short":
            await bench.store.put(key, whole[:100])
        elif damage == "flipped":
            await bench.store.put(key, flipped(whole, 40))
        bench.commit(bench.meta(), indexed)
        found = await bench.search(vectors[:1], 1)
        assert keys_of(found) == [[0]]
        assert bench.reader.status().segments == {segment.id: "raw"}
        assert "searched without its index on 'vector'" in caplog.text
        # What was copied of it is not kept: the whole file serves when it is there again.
        await bench.store.delete(key)
        await bench.store.put(key, whole)
        bench.commit(bench.meta(), indexed)
        await bench.until(lambda: bench.reader.status().segments == {segment.id: "HNSW"})

    run(test)


@pytest.mark.parametrize("verify", ["open", "never"])
def test_a_flipped_bit_in_columns_is_found_unless_storage_is_trusted(run, tmp_path, verify):
    async def test(bench: Bench) -> None:
        segment = await bench.segment(make_rows(bench.schema, [1], line(1), ["blue"]), [50])
        key = f"{segment.folder}/{COLUMNS}"
        whole = await bench.store.get(key)
        await bench.store.delete(key)
        await bench.store.put(key, flipped(whole, whole.index(b"blue")))
        bench.commit(segment)
        answer = await bench.query(output=("color",))
        if verify == "never":
            assert decode_batch(answer.columns).column("color").to_pylist() == ["clue"]
        else:
            assert [failure.error for failure in answer.failures] == ["CorruptObject"]
            assert COLUMNS in answer.failures[0].message

    run(
        test,
        config=ReaderConfig(verify=verify),
        store=lambda runtime: LocalStore(tmp_path / "store", runtime),
    )


def test_a_missing_delete_file_fails_the_segments_it_concerns(run):
    async def test(bench: Bench) -> None:
        newer = await bench.segment(make_rows(bench.schema, [1], line(1)), [90])
        older = await bench.segment(make_rows(bench.schema, [2], line(2)), [50])
        file = await bench.delete_file([2], [60])
        await bench.store.delete(f"segments/7/deletes/{file.name}")
        bench.deletes = (file,)
        bench.commit(bench.meta(), newer, older)
        answer = await bench.call(bench.search_message(ORIGIN))
        assert keys_of(hits(answer)) == [[1]]
        assert [(f.unit, f.error) for f in answer.failures] == [(older.id, "ObjectNotFound")]

    run(test)
