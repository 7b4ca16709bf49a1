from __future__ import annotations

import pytest

from mishards.core.errors import (
    CollectionNotFound,
    CorruptObject,
    DatabaseNotFound,
    MetadataConflict,
)
from mishards.core.ids import (
    CollectionId,
    DatabaseId,
    Epoch,
    FieldId,
    LogId,
    MetadataVersion,
    PartitionId,
    SegmentId,
    Timestamp,
)
from mishards.core.schema import CollectionSchema, DataType, FieldSchema
from mishards.metadata.models import (
    CollectionMeta,
    DatabaseMeta,
    LogMeta,
    PartitionMeta,
    Record,
    SegmentMeta,
    encode,
)
from mishards.metadata.protocol import Changes
from mishards.metadata.snapshot import MetadataSnapshot

FIELDS = (
    FieldSchema(id=FieldId(100), name="id", type=DataType.INT64, primary_key=True),
    FieldSchema(id=FieldId(101), name="vector", type=DataType.FLOAT_VECTOR, dim=4),
)
DEFAULT = DatabaseMeta(id=DatabaseId(1), name="default")
OTHER = DatabaseMeta(id=DatabaseId(2), name="other")


def collection(
    number: int, name: str, *aliases: str, database: DatabaseMeta = DEFAULT
) -> CollectionMeta:
    return CollectionMeta(
        id=CollectionId(number),
        database_id=database.id,
        schema=CollectionSchema(name=name, fields=FIELDS),
        partitions=(PartitionMeta(id=PartitionId(number * 10), name="_default"),),
        aliases=aliases,
    )


def segment(collection_number: int, number: int, rows: int = 5) -> SegmentMeta:
    return SegmentMeta(
        id=SegmentId(number),
        collection_id=CollectionId(collection_number),
        partition_id=PartitionId(collection_number * 10),
        rows=rows,
        min_ts=Timestamp(1),
        max_ts=Timestamp(2),
        size_bytes=3,
    )


def change(since: int, *puts: Record, deletes: tuple[str, ...] = (), version: int = 0) -> Changes:
    return Changes(
        MetadataVersion(since),
        MetadataVersion(version or since + 1),
        tuple((record.key, encode(record)) for record in puts),
        deletes,
    )


def first(*puts: Record) -> MetadataSnapshot:
    return MetadataSnapshot.empty().apply(change(0, DEFAULT, OTHER, *puts))


def test_before_the_first_commit_there_is_nothing() -> None:
    empty = MetadataSnapshot.empty()
    assert empty.version == 0
    assert empty.find("", "a") is None
    with pytest.raises(DatabaseNotFound, match="default"):
        empty.database("")


def test_names_and_aliases_lead_to_a_collection_within_its_database() -> None:
    snapshot = first(collection(3, "a", "b", "c"), collection(4, "a", database=OTHER))
    for name in ("a", "b", "c"):
        assert snapshot.resolve("default", name).id == 3
        assert snapshot.resolve("", name).id == 3
    assert snapshot.resolve("other", "a").id == 4
    assert snapshot.find("other", "b") is None
    assert snapshot.find("missing", "a") is None
    assert snapshot.database("").id == 1
    assert snapshot.database("other").id == 2
    view = snapshot.resolve("", "b")
    assert (view.name, view.schema.fields, view.segments) == ("a", FIELDS, {})


def test_what_is_missing_is_named() -> None:
    snapshot = first()
    with pytest.raises(CollectionNotFound, match=r"database=other.*collection=nope"):
        snapshot.resolve("other", "nope")
    with pytest.raises(DatabaseNotFound, match="nowhere"):
        snapshot.resolve("nowhere", "nope")
    with pytest.raises(DatabaseNotFound, match="nowhere"):
        snapshot.database("nowhere")


def test_a_rename_moves_the_names() -> None:
    old = first(collection(3, "a", "alias"))
    new = old.apply(change(1, collection(3, "b", "other_alias")))
    assert new.find("", "a") is None
    assert new.find("", "alias") is None
    assert new.resolve("", "b").id == new.resolve("", "other_alias").id == 3
    assert old.resolve("", "a").id == old.resolve("", "alias").id == 3


def test_two_collections_can_swap_a_name_in_one_change() -> None:
    snapshot = first(collection(3, "a", "live"), collection(4, "b"))
    for puts in (
        (collection(3, "a"), collection(4, "b", "live")),
        (collection(4, "b", "live"), collection(3, "a")),
    ):
        assert snapshot.apply(change(1, *puts)).resolve("", "live").id == 4
    swapped = snapshot.apply(change(1, collection(3, "b"), collection(4, "a")))
    assert (swapped.resolve("", "a").id, swapped.resolve("", "b").id) == (4, 3)


def test_a_collection_can_move_to_another_database() -> None:
    moved = first(collection(3, "a")).apply(change(1, collection(3, "a", database=OTHER)))
    assert moved.find("", "a") is None
    assert moved.resolve("other", "a").id == 3


def test_segments_come_and_go() -> None:
    old = first(collection(3, "a"), segment(3, 7), segment(3, 8))
    new = old.apply(change(1, segment(3, 9), segment(3, 8, rows=6), deletes=("segment/3/7",)))
    assert {key: meta.rows for key, meta in old.resolve("", "a").segments.items()} == {7: 5, 8: 5}
    assert {key: meta.rows for key, meta in new.resolve("", "a").segments.items()} == {8: 6, 9: 5}


def test_segments_outlive_a_change_of_their_collection() -> None:
    old = first(collection(3, "a"), segment(3, 7))
    renamed = old.apply(change(1, collection(3, "b")))
    assert set(renamed.resolve("", "b").segments) == {7}
    flushed = old.apply(change(1, segment(3, 8), collection(3, "c"), deletes=("segment/3/7",)))
    assert set(flushed.resolve("", "c").segments) == {8}


def test_a_dropped_collection_is_gone_with_names_and_segments() -> None:
    old = first(collection(3, "a", "b"), collection(4, "c"), segment(3, 7), segment(4, 8))
    deletes = ("segment/3/7", "collection/3", "segment/3/99")
    new = old.apply(change(1, deletes=deletes))
    assert set(new.collections) == {4}
    assert new.find("", "a") is None
    assert new.find("", "b") is None
    again = new.apply(change(2, collection(5, "a"), deletes=("collection/3",)))
    assert again.resolve("", "a").id == 5
    assert again.resolve("", "a").segments == {}


def test_databases_change_and_go() -> None:
    old = first()
    altered = DatabaseMeta(id=OTHER.id, name="renamed", properties=(("a", "1"),))
    new = old.apply(change(1, altered))
    assert new.database("renamed") == altered
    assert set(new.databases) == {"default", "renamed"}
    assert set(new.apply(change(2, deletes=(altered.key,))).databases) == {"default"}


def test_logs_are_known_by_id() -> None:
    log = LogMeta(id=LogId(0), epoch=Epoch(3))
    snapshot = first(log)
    assert snapshot.logs == {0: log}
    assert snapshot.apply(change(1, deletes=("log/0",))).logs == {}


def test_what_a_change_does_not_touch_is_shared() -> None:
    old = first(collection(3, "a"), collection(4, "b"), segment(3, 7), segment(4, 8))
    new = old.apply(change(1, segment(3, 9)))
    assert new.collections[CollectionId(4)] is old.collections[CollectionId(4)]
    assert new.resolve("", "a").meta is old.resolve("", "a").meta


def test_old_changes_change_nothing() -> None:
    snapshot = first(collection(3, "a"))
    assert snapshot.apply(change(0, version=1)) is snapshot
    assert snapshot.apply(change(0, collection(9, "x"), version=1)) is snapshot


def test_changes_that_overlap_are_applied() -> None:
    snapshot = first().apply(change(1, collection(3, "a")))
    both = change(1, collection(3, "a"), collection(4, "b"), version=3)
    assert set(snapshot.apply(both).collections) == {3, 4}


def test_changes_since_zero_replace_all() -> None:
    snapshot = first(collection(3, "a"), segment(3, 7))
    whole = snapshot.apply(change(0, DEFAULT, collection(4, "b"), version=5))
    assert (set(whole.collections), set(whole.databases), whole.version) == ({4}, {"default"}, 5)


def test_a_gap_between_versions_is_refused() -> None:
    with pytest.raises(MetadataConflict, match="3…4 do not follow version 1"):
        first().apply(change(3, collection(3, "a")))


def test_records_of_unknown_kinds_are_passed_over() -> None:
    changes = Changes(
        MetadataVersion(1), MetadataVersion(2), (("user/1", b"?"),), ("role/2", "user/3")
    )
    assert first().apply(changes).version == 2


@pytest.mark.parametrize("data", [b"", b"{}", b"nonsense", encode(OTHER)])
def test_a_broken_record_is_named(data: bytes) -> None:
    changes = Changes(MetadataVersion(1), MetadataVersion(2), (("collection/3", data),))
    with pytest.raises(CorruptObject, match="'collection/3'"):
        first().apply(changes)
