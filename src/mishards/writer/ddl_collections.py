"""Collections: create, drop, rename, alter, truncate.

Source: https://milvus.io/docs/manage-collections.md and the messages of Milvus's root coordinator.
"""

from __future__ import annotations

from typing import Any

import msgspec

from mishards.core.errors import (
    AliasNameConflict,
    CollectionAlreadyExists,
    CollectionNotFound,
    InvalidParameter,
    MetadataConflict,
)
from mishards.core.ids import DDL_LOG, CollectionId, LogId, PartitionId
from mishards.core.schema import CollectionSchema, check_name, check_schema
from mishards.core.ttl import ttl_of
from mishards.metadata.models import (
    DEFAULT_PARTITION,
    CollectionMeta,
    ConsistencyLevel,
    DatabaseMeta,
    PartitionMeta,
)
from mishards.metadata.snapshot import CollectionView, MetadataSnapshot
from mishards.rpc.messages import (
    AlterCollection,
    CreateCollection,
    DropCollection,
    RenameCollection,
    TruncateCollection,
)
from mishards.writer.ddl_databases import merge_properties
from mishards.writer.edit import NOTHING, Edit, Fresh


def changed(meta: CollectionMeta, **fields: Any) -> CollectionMeta:
    """A copy with some fields replaced, and nothing remembered of the old one."""
    return msgspec.structs.replace(meta, **fields)


def renamed(schema: CollectionSchema, name: str) -> CollectionSchema:
    return msgspec.structs.replace(schema, name=name)


def create_collection(snapshot: MetadataSnapshot, message: CreateCollection, fresh: Fresh) -> Edit:
    """Creating the same again succeeds. Its mutations go into the log with the fewest collections.

    Raises:
        DatabaseNotFound, SchemaError, InvalidParameter.
        AliasNameConflict: an alias has the name.
        CollectionAlreadyExists: a different collection has it.
    """
    database = snapshot.database(message.database)
    schema = message.schema
    check_schema(schema)
    ttl_of(schema.properties)
    if message.shards < 1:
        raise InvalidParameter(f"invalid num_shards {message.shards}: at least 1 is allowed")
    consistency = _consistency(message.consistency)
    if (found := snapshot.find(message.database, schema.name)) is not None:
        return _existing(found.meta, schema, consistency, message.shards)
    now = fresh()
    return Edit(
        (
            CollectionMeta(
                id=CollectionId(now),
                database_id=database.id,
                schema=schema,
                partitions=(
                    PartitionMeta(id=PartitionId(fresh()), name=DEFAULT_PARTITION, created=now),
                ),
                # No row is older than its collection, so that a log of another life of the
                # metadata cannot add any.
                checkpoint=now,
                consistency=consistency,
                shards=message.shards,
                log_id=_emptiest_log(snapshot),
                created=now,
                updated=now,
            ),
        )
    )


def _emptiest_log(snapshot: MetadataSnapshot) -> LogId:
    """Of the logs that have had a leader, the one with the fewest collections."""
    counts = dict.fromkeys(sorted(snapshot.logs), 0) or {DDL_LOG: 0}
    for view in snapshot.collections.values():
        counts[view.meta.log_id] = counts.get(view.meta.log_id, 0) + 1
    return min(counts, key=lambda log_id: counts[log_id])


def _existing(
    meta: CollectionMeta, schema: CollectionSchema, consistency: ConsistencyLevel, shards: int
) -> Edit:
    if meta.name != schema.name:
        raise AliasNameConflict(
            f"collection name [{schema.name}] conflicts with an existing alias, "
            "please choose a unique name"
        )
    if (meta.schema, meta.consistency, meta.shards) != (schema, consistency, shards):
        raise CollectionAlreadyExists(
            f"create duplicate collection with different parameters, collection: {schema.name}"
        )
    return NOTHING


def _consistency(number: int) -> ConsistencyLevel:
    try:
        return ConsistencyLevel(number)
    except ValueError as error:
        levels = ", ".join(f"{level.value} ({level.name})" for level in ConsistencyLevel)
        raise InvalidParameter(
            f"invalid consistency level {number}; allowed are {levels}"
        ) from error


def drop_collection(snapshot: MetadataSnapshot, message: DropCollection, fresh: Fresh) -> Edit:
    """Dropping a missing collection succeeds.

    Raises:
        DatabaseNotFound.
        InvalidParameter: the name is an alias, or aliases point to the collection.
    """
    snapshot.database(message.database)
    if (view := snapshot.find(message.database, message.name)) is None:
        return NOTHING
    if view.name != message.name:
        raise InvalidParameter(f"cannot drop the collection via alias = {message.name}")
    if view.meta.aliases:
        raise InvalidParameter(
            f"unable to drop the collection [{message.name}] because it has associated aliases "
            f"[{', '.join(view.meta.aliases)}], please remove all aliases before dropping the "
            "collection"
        )
    segments = tuple(segment.key for segment in view.segments.values())
    return Edit(deletes=(view.meta.key, *segments))


def rename_collection(snapshot: MetadataSnapshot, message: RenameCollection, fresh: Fresh) -> Edit:
    """Raises: DatabaseNotFound, CollectionNotFound, SchemaError, InvalidParameter."""
    check_name("collection", message.new_name)
    target = snapshot.database(message.new_database or message.database)
    view = named(snapshot, message.database, message.name)
    source = snapshot.database(message.database)
    if (target.id, message.new_name) == (source.id, message.name):
        raise InvalidParameter(
            f"collection name or database name should be different, got {message.new_name!r}"
        )
    if view.name != message.name:
        raise InvalidParameter(
            f"unsupported use an alias to rename collection, alias:{message.name}"
        )
    if view.meta.aliases and target.id != source.id:
        raise InvalidParameter(
            "fail to rename db name, must drop all aliases of this collection before rename: "
            f"{', '.join(view.meta.aliases)}"
        )
    if (target.id, message.new_name) in snapshot.names:
        raise InvalidParameter(
            f"duplicated new collection name {target.name}:{message.new_name} "
            "with other collection name or alias"
        )
    return Edit((_moved(view, target, message.new_name, fresh),))


def _moved(view: CollectionView, target: DatabaseMeta, name: str, fresh: Fresh) -> CollectionMeta:
    return changed(
        view.meta, database_id=target.id, schema=renamed(view.schema, name), updated=fresh()
    )


def alter_collection(snapshot: MetadataSnapshot, message: AlterCollection, fresh: Fresh) -> Edit:
    """Raises: DatabaseNotFound, CollectionNotFound, InvalidParameter."""
    meta = named(snapshot, message.database, message.name).meta
    ttl_of(message.properties)
    properties = merge_properties(meta.schema.properties, message.properties, message.removed)
    if properties == meta.schema.properties:
        return NOTHING
    schema = msgspec.structs.replace(meta.schema, properties=properties)
    return Edit((changed(meta, schema=schema, updated=fresh()),))


def truncate_collection(
    snapshot: MetadataSnapshot, message: TruncateCollection, fresh: Fresh
) -> Edit:
    """Everything older than now is let go: the checkpoint moves past it.

    Rows that get their timestamp after this keep it above the checkpoint, so they stay.

    Raises:
        DatabaseNotFound, CollectionNotFound.
        MetadataConflict: the name is now that of a collection of another log.
    """
    view = named(snapshot, message.database, message.name)
    if view.meta.log_id != message.log:
        raise MetadataConflict(
            f"collection {message.name!r} belongs to log {view.meta.log_id}, no longer "
            f"to {message.log}"
        )
    now = fresh()
    meta = changed(view.meta, checkpoint=now, deletes=(), updated=now)
    return Edit((meta,), tuple(segment.key for segment in view.segments.values()))


def named(snapshot: MetadataSnapshot, database: str, name: str) -> CollectionView:
    """The collection a DDL speaks of.

    Raises:
        DatabaseNotFound, CollectionNotFound.
    """
    if not name:
        raise CollectionNotFound("collection name is empty")
    return snapshot.resolve(database, name)
