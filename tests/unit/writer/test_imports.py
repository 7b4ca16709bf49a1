"""Importing collections: one commit, names and records checked, twice is once."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import msgspec
import pytest

from mishards.core import errors
from mishards.core.ids import CollectionId, DatabaseId, PartitionId, SegmentId, Timestamp
from mishards.metadata.models import CollectionMeta, PartitionMeta, SegmentMeta
from mishards.rpc.messages import (
    CreateCollection,
    CreateDatabase,
    ImportCollections,
    ImportedCollection,
    NewestTimestamp,
)
from mishards.testing.writer_bench import Bench, ask, bench_open, make_schema

_ids = itertools.count(10)


def imported(
    name: str = "c", database: str = "default", aliases: tuple[str, ...] = (), **segment: Any
) -> ImportedCollection:
    """A collection with one segment; `segment` are fields of that."""
    number = next(_ids)
    meta = CollectionMeta(
        id=CollectionId(number),
        database_id=DatabaseId(0),
        schema=make_schema(name),
        partitions=(PartitionMeta(id=PartitionId(number + 1), name="_default"),),
        aliases=aliases,
    )
    one = SegmentMeta(
        id=SegmentId(number + 2),
        collection_id=meta.id,
        partition_id=PartitionId(number + 1),
        rows=1,
        min_ts=Timestamp(3),
        max_ts=Timestamp(4),
        size_bytes=5,
    )
    return ImportedCollection(
        database=database, meta=meta, segments=(msgspec.structs.replace(one, **segment),)
    )


def run(scene: Any) -> None:
    async def main() -> None:
        async with bench_open() as bench:
            await scene(bench, await bench.writer())

    asyncio.run(main())


def test_collections_appear_in_one_commit_with_the_databases_they_need() -> None:
    async def scene(bench: Bench, writer: Any) -> None:
        before = await bench.metadata.version()
        both = (imported("c", aliases=("a",)), imported("d", "db"))
        properties = (("p", "1"),)
        answer = await ask(
            writer,
            ImportCollections(
                collections=both, databases=(("db", properties), ("unneeded", ()), ("default", ()))
            ),
        )
        assert answer.version == before + 1
        snapshot = await bench.snapshot()
        assert set(snapshot.databases) == {"default", "db"}
        assert snapshot.databases["db"].properties == properties
        assert snapshot.resolve("", "a").id == both[0].meta.id
        view = snapshot.resolve("db", "d")
        assert view.meta.database_id == snapshot.databases["db"].id
        assert set(view.segments) == {both[1].segments[0].id}
        assert view.meta.checkpoint == view.meta.created > 4

    run(scene)


def test_importing_again_changes_nothing() -> None:
    async def scene(bench: Bench, writer: Any) -> None:
        message = ImportCollections(collections=(imported(),))
        first = await ask(writer, message)
        assert (await ask(writer, message)).version == first.version

    run(scene)


def test_the_log_goes_past_what_is_imported_first() -> None:
    async def scene(bench: Bench, writer: Any) -> None:
        before = (await ask(writer, NewestTimestamp())).timestamp
        future = Timestamp(before + (3_600_000 << 18))
        await ask(writer, ImportCollections(collections=(imported(max_ts=future),)))
        newest = (await ask(writer, NewestTimestamp())).timestamp
        assert newest >= future
        entry = bench.recorders[0].entries[-1]
        assert (entry.timestamp, entry.mutations) == (newest, ())
        await ask(writer, ImportCollections(collections=(imported("d", max_ts=before),)))
        assert (await ask(writer, NewestTimestamp())).timestamp == newest

    run(scene)


def test_a_log_that_cannot_go_on_imports_nothing() -> None:
    async def scene(bench: Bench, writer: Any) -> None:
        newest = (await ask(writer, NewestTimestamp())).timestamp
        bench.store.fail_before = errors.DiskFull("full")
        message = ImportCollections(collections=(imported(max_ts=Timestamp(newest + 9)),))
        with pytest.raises(errors.DiskFull):
            await ask(writer, message)
        assert not (await bench.snapshot()).collections
        bench.store.fail_before = None
        await ask(writer, message)
        assert (await bench.view()).id == message.collections[0].meta.id

    run(scene)


@pytest.mark.parametrize(
    ("collections", "error", "message"),
    [
        ((imported("taken"),), errors.CollectionAlreadyExists, "'taken' is taken"),
        ((imported("c"), imported("c")), errors.CollectionAlreadyExists, "'c' is taken"),
        ((imported("c", aliases=("taken",)),), errors.AliasAlreadyExists, "alias 'taken'"),
        ((imported("c", "missing"),), errors.DatabaseNotFound, "missing"),
        ((imported("1c"),), errors.SchemaError, "1c"),
        ((imported(partition_id=PartitionId(1)),), errors.InvalidParameter, "partition 1, is none"),
        (
            (imported(collection_id=CollectionId(1)),),
            errors.InvalidParameter,
            "collection 1, partition",
        ),
    ],
)
def test_what_is_refused_changes_nothing(
    collections: tuple[ImportedCollection, ...], error: type[errors.MishardsError], message: str
) -> None:
    async def scene(bench: Bench, writer: Any) -> None:
        await ask(writer, CreateCollection(database="", schema=make_schema("taken")))
        with pytest.raises(error, match=message):
            await ask(writer, ImportCollections(collections=(imported("fine"), *collections)))
        assert [view.name for view in (await bench.snapshot()).collections.values()] == ["taken"]

    run(scene)


def test_there_are_no_more_databases_than_allowed() -> None:
    async def scene(bench: Bench, writer: Any) -> None:
        for number in range(63):
            await ask(writer, CreateDatabase(name=f"d{number}"))
        with pytest.raises(errors.InvalidParameter, match="at most 64 are allowed"):
            await ask(
                writer,
                ImportCollections(collections=(imported("c", "more"),), databases=(("more", ()),)),
            )

    run(scene)
