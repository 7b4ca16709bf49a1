"""A snapshot does not depend on the steps it was reached by."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

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
from mishards.metadata.memory import MemoryMetadataStore
from mishards.metadata.models import CollectionMeta, DatabaseMeta, Record, SegmentMeta, encode
from mishards.metadata.snapshot import MetadataSnapshot

LOG, FIRST = LogId(0), Epoch(1)
FIELD = FieldSchema(id=FieldId(100), name="id", type=DataType.INT64, primary_key=True)
_numbers = st.integers(1, 3)


def _database(number: int, name: str) -> DatabaseMeta:
    # Two databases of one name cannot exist at once: the leader sees to it.
    return DatabaseMeta(id=DatabaseId(number), name=f"{number}{name}")


def _collection(number: int, database: int, name: str, alias: str) -> CollectionMeta:
    return CollectionMeta(
        id=CollectionId(number),
        database_id=DatabaseId(database),
        schema=CollectionSchema(name=f"{number}{name}", fields=(FIELD,)),
        partitions=(),
        aliases=(f"{number}{alias}",),
    )


def _segment(collection: int, number: int, rows: int) -> SegmentMeta:
    return SegmentMeta(
        id=SegmentId(number),
        collection_id=CollectionId(collection),
        partition_id=PartitionId(1),
        rows=rows,
        min_ts=Timestamp(1),
        max_ts=Timestamp(1),
        size_bytes=1,
    )


_names = st.sampled_from("ab")
_records: st.SearchStrategy[Record] = st.one_of(
    st.builds(_database, _numbers, _names),
    st.builds(_collection, _numbers, _numbers, _names, _names),
    st.builds(_segment, _numbers, st.integers(1, 4), _numbers),
)
_commits = st.lists(
    st.tuples(st.lists(_records, max_size=4), st.lists(_records, max_size=3)), max_size=8
)


def _live(
    commits: list[tuple[list[Record], list[Record]]],
) -> list[tuple[dict[str, bytes], set[str]]]:
    """The commits with what a leader would add: a dropped collection takes its segments along,
    and a segment is put only where its collection is."""
    known: dict[str, Record] = {}
    plans = []
    for puts, deleted in commits:
        gone = {record.key for record in deleted}
        for key, record in known.items():
            if isinstance(record, SegmentMeta) and f"collection/{record.collection_id}" in gone:
                gone.add(key)
        known = {key: record for key, record in known.items() if key not in gone}
        owners = {*known, *(record.key for record in puts)}
        added = {
            record.key: record
            for record in puts
            if not isinstance(record, SegmentMeta) or f"collection/{record.collection_id}" in owners
        }
        known |= added
        plans.append(({key: encode(record) for key, record in added.items()}, gone))
    return plans


async def _check(plans: list[tuple[dict[str, bytes], set[str]]], every: int) -> None:
    store = MemoryMetadataStore()
    await store.begin_epoch(LOG, FIRST)
    by_commit = by_poll = MetadataSnapshot.empty()
    for number, (puts, deletes) in enumerate(plans):
        committed = await store.commit(
            LOG, FIRST, MetadataVersion(number), puts, tuple(sorted(deletes))
        )
        by_commit = by_commit.apply(committed)
        if number % every == 0:
            by_poll = by_poll.apply(await store.changes(by_poll.version))
    by_poll = by_poll.apply(await store.changes(by_poll.version))
    whole = MetadataSnapshot.empty().apply(await store.changes(MetadataVersion(0)))
    for other in (by_commit, by_poll):
        assert other.version == whole.version == len(plans)
        assert other.databases == whole.databases
        assert other.collections == whole.collections
        assert other.names == whole.names
    for (database, name), collection_id in whole.names.items():
        meta = whole.collections[collection_id].meta
        assert meta.database_id == database
        assert name in (meta.name, *meta.aliases)
    assert len(whole.names) == sum(
        len({view.name, *view.meta.aliases}) for view in whole.collections.values()
    )


@given(_commits, st.integers(1, 4))
def test_steps_polls_and_a_whole_read_agree(
    commits: list[tuple[list[Record], list[Record]]], every: int
) -> None:
    asyncio.run(_check(_live(commits), every))
