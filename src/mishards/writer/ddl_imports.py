"""Imports: collections that were made elsewhere, with files on storage, appear in one commit.

Invariant: every timestamp and id in what is imported lies before all that this leader gives from
then on; see `newest_imported`.
"""

from __future__ import annotations

from collections.abc import Iterator

from mishards.core import limits
from mishards.core.errors import (
    AliasAlreadyExists,
    CollectionAlreadyExists,
    DatabaseNotFound,
    InvalidParameter,
)
from mishards.core.ids import DDL_LOG, DatabaseId, Timestamp
from mishards.core.schema import check_schema
from mishards.metadata.models import CollectionMeta, DatabaseMeta
from mishards.metadata.snapshot import MetadataSnapshot
from mishards.rpc.messages import ImportCollections, ImportedCollection
from mishards.writer.ddl_collections import changed
from mishards.writer.ddl_databases import new_database
from mishards.writer.edit import NOTHING, Edit, Fresh


def import_collections(
    snapshot: MetadataSnapshot, message: ImportCollections, fresh: Fresh
) -> Edit:
    """Importing the same again succeeds.

    Raises:
        DatabaseNotFound: it is neither there nor among those to be made.
        CollectionAlreadyExists, AliasAlreadyExists: a name is taken.
        SchemaError, InvalidParameter: the records do not fit each other, or a limit.
    """
    wanted = [one for one in message.collections if not _is_there(snapshot, one)]
    if not wanted:
        return NOTHING
    made = _databases(snapshot, message, fresh)
    databases = {one.name: one.id for one in (*snapshot.databases.values(), *made)}
    metas: list[CollectionMeta] = []
    taken = set(snapshot.names)
    for one in wanted:
        if (database_id := databases.get(one.database)) is None:
            raise DatabaseNotFound(f"database not found[database={one.database}]")
        _check_records(one)
        _check_names(one, database_id, taken)
        now = fresh()
        metas.append(
            changed(
                one.meta,
                database_id=database_id,
                log_id=DDL_LOG,
                # What it holds is sealed, all of it; what is written to it comes after this.
                checkpoint=now,
                created=now,
                updated=now,
            )
        )
    segments = [segment for one in wanted for segment in one.segments]
    return Edit((*made, *metas, *segments))


def newest_imported(message: ImportCollections) -> Timestamp:
    """The greatest timestamp or id in what is imported."""
    return Timestamp(max(_numbers(message), default=0))


def _numbers(message: ImportCollections) -> Iterator[int]:
    for one in message.collections:
        meta = one.meta
        yield from (meta.id, meta.checkpoint)
        yield from (partition.id for partition in meta.partitions)
        yield from (index.id for index in meta.indexes)
        yield from (file.max_ts for file in meta.deletes)
        for segment in one.segments:
            yield from (segment.id, segment.max_ts)


def _is_there(snapshot: MetadataSnapshot, one: ImportedCollection) -> bool:
    return one.meta.id in snapshot.collections


def _databases(
    snapshot: MetadataSnapshot, message: ImportCollections, fresh: Fresh
) -> list[DatabaseMeta]:
    """Those that are missing and needed."""
    needed = {one.database for one in message.collections} - set(snapshot.databases)
    made = [
        new_database(name, properties, fresh)
        for name, properties in message.databases
        if name in needed
    ]
    if len(snapshot.databases) + len(made) > limits.MAX_DATABASES:
        raise InvalidParameter(
            f"{len(made)} databases cannot be added to {len(snapshot.databases)}; "
            f"at most {limits.MAX_DATABASES} are allowed"
        )
    return made


def _check_records(one: ImportedCollection) -> None:
    """The records of a collection belong together."""
    check_schema(one.meta.schema)
    partitions = {partition.id for partition in one.meta.partitions}
    for segment in one.segments:
        if segment.collection_id != one.meta.id or segment.partition_id not in partitions:
            raise InvalidParameter(
                f"segment {segment.id} of collection {segment.collection_id}, partition "
                f"{segment.partition_id}, is none of collection {one.meta.id} ({one.meta.name})"
            )


def _check_names(
    one: ImportedCollection, database_id: DatabaseId, taken: set[tuple[DatabaseId, str]]
) -> None:
    """Take the collection's names, which have to be free."""
    if (database_id, one.meta.name) in taken:
        raise CollectionAlreadyExists(
            f"collection name {one.meta.name!r} is taken in database {one.database!r}"
        )
    taken.add((database_id, one.meta.name))
    for alias in one.meta.aliases:
        if (database_id, alias) in taken:
            raise AliasAlreadyExists(
                f"alias {alias!r} of collection {one.meta.name!r} is taken in database "
                f"{one.database!r}"
            )
        taken.add((database_id, alias))
