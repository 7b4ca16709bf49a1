"""Load and release. Source: https://milvus.io/docs/load-and-release.md

Invariant: `replica_number` is 0 exactly when no partition is loaded.
"""

from __future__ import annotations

import msgspec

from mishards.core.errors import IndexNotFound, InvalidParameter, PartitionNotFound
from mishards.core.ids import PartitionId
from mishards.metadata.models import CollectionMeta, PartitionMeta
from mishards.metadata.snapshot import MetadataSnapshot
from mishards.rpc.messages import Load, Release
from mishards.writer.ddl_collections import changed, named
from mishards.writer.edit import NOTHING, Edit, Fresh


def load(snapshot: MetadataSnapshot, message: Load, fresh: Fresh) -> Edit:
    """Loading what is loaded succeeds.

    Raises:
        DatabaseNotFound, CollectionNotFound, PartitionNotFound.
        IndexNotFound: a vector field has no index.
        InvalidParameter: the number of replicas is below 1, or differs from that of what is
            already loaded.
    """
    meta = named(snapshot, message.database, message.collection).meta
    chosen = _partition_ids(meta, message.partitions)
    if message.replica_number < 1:
        raise InvalidParameter(
            f"invalid replica number {message.replica_number}: at least 1 is allowed"
        )
    bare = [field.name for field in meta.schema.vectors if field.name not in meta.index_by_field]
    if bare:
        raise IndexNotFound(
            f"there is no vector index on field: [{', '.join(bare)}] of collection "
            f"{meta.name!r}, please create index firstly"
        )
    if meta.replica_number not in (0, message.replica_number):
        raise InvalidParameter(
            f"can't change the replica number for loaded collection {meta.name!r}: "
            f"expected {meta.replica_number}, got {message.replica_number}; release it first"
        )
    return _set(
        meta,
        meta.loaded_partitions | chosen,
        whole=meta.loaded_whole or not message.partitions,
        replicas=message.replica_number,
        fresh=fresh,
    )


def release(snapshot: MetadataSnapshot, message: Release, fresh: Fresh) -> Edit:
    """Releasing what is not loaded succeeds.

    Raises:
        DatabaseNotFound, CollectionNotFound, PartitionNotFound.
    """
    meta = named(snapshot, message.database, message.collection).meta
    rest = meta.loaded_partitions - _partition_ids(meta, message.partitions)
    whole = meta.loaded_whole and bool(message.partitions) and rest == meta.loaded_partitions
    return _set(meta, rest, whole=whole, replicas=meta.replica_number if rest else 0, fresh=fresh)


def _partition_ids(meta: CollectionMeta, names: tuple[str, ...]) -> frozenset[PartitionId]:
    """Ids of the named partitions; of all when none is named."""
    if not names:
        return frozenset(partition.id for partition in meta.partitions)
    missing = [name for name in names if name not in meta.partition_by_name]
    if missing:
        raise PartitionNotFound(
            f"partition not found[partition={missing[0]}] in collection {meta.name!r}"
        )
    return frozenset(meta.partition_by_name[name].id for name in names)


def _set(
    meta: CollectionMeta,
    loaded: frozenset[PartitionId],
    *,
    whole: bool,
    replicas: int,
    fresh: Fresh,
) -> Edit:
    if (meta.loaded_partitions, meta.loaded_whole, meta.replica_number) == (
        loaded,
        whole,
        replicas,
    ):
        return NOTHING
    partitions: tuple[PartitionMeta, ...] = tuple(
        msgspec.structs.replace(partition, loaded=partition.id in loaded)
        for partition in meta.partitions
    )
    return Edit(
        (
            changed(
                meta,
                partitions=partitions,
                loaded_whole=whole,
                replica_number=replicas,
                updated=fresh(),
            ),
        )
    )
