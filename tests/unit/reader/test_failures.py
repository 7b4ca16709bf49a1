"""What a reader does when files are damaged, missing, or storage fails."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mishards.core.columns import decode_batch
from mishards.core.errors import Unavailable
from mishards.core.ids import IndexId
from mishards.metadata.models import SegmentMeta
from mishards.reader.config import ReaderConfig
from mishards.rpc.messages import LookAgain, ReportDamage
from mishards.segments.layout import COLUMNS, MANIFEST
from mishards.storage.local import LocalStore
from mishards.storage.memory import MemoryStore
from mishards.testing.reader_bench import Bench, hits, keys_of, make_rows

ORIGIN = [[0.0, 0.0, 0.0, 0.0]]


def line(*places: float) -> list[list[float]]:
    """Vectors at these distances from the origin."""
    return [[float(place), 0.0, 0.0, 0.0] for place in places]


def flipped(data: bytes, place: int) -> bytes:
    """With one bit changed."""
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def harmed(whole: bytes, damage: str) -> bytes:
    """The contents of a file after some damage to it."""
    match damage:
        case "empty":
            return b""
        case "cut short":
            return whole[: len(whole) // 2]
        case "zeros":
            return bytes(len(whole))
        case "longer":
            return whole + b"\0"
    return flipped(whole, int(damage.removeprefix("flipped at ").rstrip("%")) * len(whole) // 100)


HARM = ["empty", "cut short", "zeros", "longer", *(f"flipped at {n}%" for n in (0, 30, 60, 99))]


@pytest.mark.parametrize("name", [COLUMNS, MANIFEST, "101.vectors"])
@pytest.mark.parametrize("local", [True, False])
@pytest.mark.parametrize("damage", ["missing", *HARM])
def test_a_broken_segment_fails_alone(run, tmp_path, name, local, damage):
    async def test(bench: Bench) -> None:
        good = await bench.segment(make_rows(bench.schema, [1], line(1)), [50])
        bad = await bench.segment(make_rows(bench.schema, [2], line(2)), [50])
        key = f"{bad.folder}/{name}"
        whole = await bench.store.get(key)
        await bench.store.delete(key)
        if damage != "missing":
            await bench.store.put(key, harmed(whole, damage))
        bench.commit(good, bad)
        answer = await bench.call(bench.search_message(ORIGIN))
        assert keys_of(hits(answer)) == [[1]]
        (failure,) = answer.failures
        assert failure.unit == bad.id
        assert failure.error == ("SegmentNotFound" if damage == "missing" else "CorruptObject")
        assert f"segment {bad.id} of collection 'things'" in failure.message
        assert name in failure.message
        rows = await bench.query(output=("color",))
        assert decode_batch(rows.columns).column("id").to_pylist() == [1]
        assert [f.unit for f in rows.failures] == [bad.id]
        assert bench.reader.status().quarantined == {bad.id: failure.message}
        await bench.store.put(key, whole)
        assert keys_of(await bench.search(ORIGIN)) == [[1, 2]]
        assert bench.reader.status().quarantined == {}

    store = (lambda runtime: LocalStore(tmp_path / "store", runtime)) if local else None
    run(test, store=store, config=ReaderConfig(quarantine_s=0))


def test_a_segment_in_quarantine_is_not_read_again_for_each_search(run):
    async def test(bench: Bench) -> None:
        bad = await bench.segment(make_rows(bench.schema, [2], line(2)), [50])
        key = f"{bad.folder}/{MANIFEST}"
        whole = await bench.store.get(key)
        await bench.store.delete(key)
        bench.commit(bad)
        first = await bench.call(bench.search_message(ORIGIN))
        await bench.store.put(key, whole)
        again = await bench.call(bench.search_message(ORIGIN))
        assert [f.unit for f in first.failures] == [bad.id]
        assert again.failures == first.failures
        # Nobody names it any more: nothing of it is kept.
        bench.segments.clear()
        bench.commit(deletes=(bad.key,))
        await bench.until(lambda: bench.reader.status().quarantined == {})

    run(test, config=ReaderConfig(quarantine_s=1000, housekeeping_s=0.001))


def test_a_segment_that_was_healed_is_opened_by_itself(run):
    async def test(bench: Bench) -> None:
        bad = await bench.segment(make_rows(bench.schema, [2], line(2)), [50])
        key = f"{bad.folder}/101.vectors"
        whole = await bench.store.get(key)
        await bench.store.put(key, bytes(len(whole)))
        bench.commit(bad)
        await bench.until(lambda: list(bench.reader.status().quarantined) == [bad.id])
        await bench.store.put(key, whole)
        await bench.until(lambda: bench.reader.status().segments == {bad.id: "raw"})
        assert bench.reader.status().quarantined == {}

    run(test, config=ReaderConfig(quarantine_s=0.001, housekeeping_s=0.001))


@pytest.mark.parametrize("local", [True, False])
def test_an_open_segment_is_refused_once_it_is_looked_at_again(run, tmp_path, local):
    async def test(bench: Bench) -> None:
        segment = await bench.segment(make_rows(bench.schema, [2], line(2)), [50])
        bench.commit(segment)
        assert keys_of(await bench.search(ORIGIN)) == [[2]]
        message = LookAgain(collection=segment.collection_id, segment=segment.id)
        sound = await bench.call(message)
        assert (sound.refused, "is sound" in sound.reason) == (False, True)
        key = f"{segment.folder}/101.vectors"
        whole = await bench.store.get(key)
        await bench.store.put(key, bytes(len(whole)))
        assert keys_of(await bench.search(ORIGIN)) == [[2]]
        damaged = await bench.call(message)
        assert damaged.refused
        assert "101.vectors" in damaged.reason
        answer = await bench.call(bench.search_message(ORIGIN))
        assert [failure.unit for failure in answer.failures] == [segment.id]
        assert not (await bench.call(message)).refused, "it is not open"
        await bench.store.put(key, whole)
        assert keys_of(await bench.search(ORIGIN)) == [[2]]

    store = (lambda runtime: LocalStore(tmp_path / "store", runtime)) if local else None
    run(test, store=store, config=ReaderConfig(quarantine_s=0))


@pytest.mark.parametrize("name", [COLUMNS, MANIFEST, "101.vectors", "index", "deletes"])
@pytest.mark.parametrize("damage", ["missing", "zeros", "flipped at 60%"])
def test_a_damaged_copy_in_the_cache_is_fetched_again(run, tmp_path, name, damage):
    """A reader that starts on a cache folder that was harmed while it was down."""
    vectors = np.random.default_rng(1).normal(size=(50, 4)).astype(np.float32)
    cache = ReaderConfig(cache_dir=str(tmp_path / "cache"), quarantine_s=1000)
    made: list[SegmentMeta] = []

    async def fill(bench: Bench) -> None:
        bench.index = bench.index_meta("HNSW", IndexId(501))
        segment = await bench.segment(make_rows(bench.schema, range(50), vectors), [50] * 50)
        indexed = await bench.build(segment, vectors, bench.index)
        bench.deletes = (await bench.delete_file([0], [60]),)
        bench.commit(bench.meta(), indexed)
        assert keys_of(await bench.search(vectors[:1], 1)) != [[0]]
        assert bench.reader.status().segments == {indexed.id: "HNSW"}
        made.append(indexed)
        records.extend((bench.meta(), indexed))
        expected.append(await bench.search(vectors[:1], 5))

    async def again(bench: Bench) -> None:
        bench.index = bench.index_meta("HNSW", IndexId(501))
        bench.deletes = records[0].deletes
        bench.segments = {made[0].id: made[0]}
        (path,) = (p for p in (tmp_path / "cache").rglob(f"*{name}*") if p.is_file())
        if damage == "missing":
            path.unlink()
        else:
            path.write_bytes(harmed(path.read_bytes(), damage))
        bench.commit(*records)
        assert await bench.search(vectors[:1], 5) == expected[0]
        await bench.until(lambda: bench.reader.status().segments == {made[0].id: "HNSW"})
        assert bench.reader.status().quarantined == {}

    records: list[Any] = []
    expected: list[Any] = []
    store = MemoryStore()
    run(fill, store=lambda runtime: store, config=cache)
    run(again, store=lambda runtime: store, config=cache)


@pytest.mark.parametrize("local", [True, False])
@pytest.mark.parametrize("damage", ["missing", *HARM])
def test_a_broken_index_costs_speed_not_the_answer(run, tmp_path, caplog, local, damage):
    vectors = np.random.default_rng(1).normal(size=(50, 4)).astype(np.float32)
    told: list[ReportDamage] = []

    async def report(message: ReportDamage) -> None:
        told.append(message)

    async def test(bench: Bench) -> None:
        bench.index = bench.index_meta("HNSW", IndexId(501))
        segment = await bench.segment(make_rows(bench.schema, range(50), vectors), [50] * 50)
        indexed = await bench.build(segment, vectors, bench.index)
        name = indexed.indexes[0].name
        key = f"{segment.folder}/{name}"
        whole = await bench.store.get(key)
        await bench.store.delete(key)
        if damage != "missing":
            await bench.store.put(key, harmed(whole, damage))
        bench.commit(bench.meta(), indexed)
        found = await bench.search(vectors[:1], 1)
        assert keys_of(found) == [[0]]
        assert bench.reader.status().segments == {segment.id: "raw"}
        assert "searched without its index on 'vector'" in caplog.text
        # The leader is told of the file.
        await bench.until(lambda: bool(told))
        assert (told[0].collection, told[0].segment, told[0].name) == (7, segment.id, name)
        assert told[0].reason
        # What was copied of it is not kept: the whole file serves when it is there again.
        await bench.store.delete(key)
        await bench.store.put(key, whole)
        await bench.until(lambda: bench.reader.status().segments == {segment.id: "HNSW"})

    store = (lambda runtime: LocalStore(tmp_path / "store", runtime)) if local else None
    config = ReaderConfig(quarantine_s=0.01, housekeeping_s=0.001)
    run(test, store=store, config=config, report_damage=report)


def test_an_index_that_was_built_anew_takes_the_place_of_the_old_one(run):
    vectors = np.random.default_rng(1).normal(size=(50, 4)).astype(np.float32)

    async def test(bench: Bench) -> None:
        bench.index = bench.index_meta("HNSW", IndexId(501))
        segment = await bench.segment(make_rows(bench.schema, range(50), vectors), [50] * 50)
        first = await bench.build(segment, vectors, bench.index)
        bench.commit(bench.meta(), first)
        await bench.search(vectors[:1], 1)
        assert bench.reader.status().segments == {segment.id: "HNSW"}
        # The leader found it damaged: it is no longer named, so it is no longer used.
        bench.commit(segment)
        await bench.until(lambda: bench.reader.status().segments == {segment.id: "raw"})
        second = await bench.build(segment, vectors, bench.index)
        assert second.indexes[0].name != first.indexes[0].name
        bench.commit(second)
        await bench.until(lambda: bench.reader.status().segments == {segment.id: "HNSW"})

    run(test)


def test_reports_of_damage_survive_a_leader_that_cannot_be_reached(run):
    vectors = np.random.default_rng(1).normal(size=(50, 4)).astype(np.float32)
    calls: list[str] = []

    async def report(message: ReportDamage) -> None:
        calls.append(message.name)
        if len(calls) == 1:
            raise Unavailable("no leader")

    async def test(bench: Bench) -> None:
        bench.index = bench.index_meta("HNSW", IndexId(501))
        segment = await bench.segment(make_rows(bench.schema, range(50), vectors), [50] * 50)
        indexed = await bench.build(segment, vectors, bench.index)
        await bench.store.delete(f"{segment.folder}/{indexed.indexes[0].name}")
        bench.commit(bench.meta(), indexed)
        await bench.until(lambda: len(calls) >= 2)
        assert set(calls) == {indexed.indexes[0].name}

    config = ReaderConfig(quarantine_s=0.001, housekeeping_s=0.001)
    run(test, config=config, report_damage=report)


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
