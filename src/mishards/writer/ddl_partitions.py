"""Partitions: create, drop. Source: https://milvus.io/docs/manage-partitions.md"""

from __future__ import annotations

from mishards.core import limits
from mishards.core.errors import InvalidParameter
from mishards.core.ids import PartitionId
from mishards.core.schema import check_name
from mishards.metadata.models import DEFAULT_PARTITION, PartitionMeta
from mishards.metadata.snapshot import MetadataSnapshot
from mishards.rpc.messages import CreatePartition, DropPartition
from mishards.writer.ddl_collections import changed, named
from mishards.writer.edit import NOTHING, Edit, Fresh


def create_partition(snapshot: MetadataSnapshot, message: CreatePartition, fresh: Fresh) -> Edit:
    """Creating an existing partition succeeds.

    Raises:
        DatabaseNotFound, CollectionNotFound, InvalidParameter.
    """
    meta = named(snapshot, message.database, message.collection).meta
    check_name("partition", message.partition, InvalidParameter)
    if message.partition in meta.partition_by_name:
        return NOTHING
    if len(meta.partitions) >= limits.MAX_PARTITIONS:
        raise InvalidParameter(
            f"partition number ({len(meta.partitions)}) exceeds max configuration "
            f"({limits.MAX_PARTITIONS}), collection: {meta.name}"
        )
    now = fresh()
    partition = PartitionMeta(
        id=PartitionId(now), name=message.partition, created=now, loaded=meta.loaded_whole
    )
    return Edit((changed(meta, partitions=(*meta.partitions, partition), updated=now),))


def drop_partition(snapshot: MetadataSnapshot, message: DropPartition, fresh: Fresh) -> Edit:
    """Dropping a missing partition succeeds.

    Raises:
        DatabaseNotFound, CollectionNotFound.
        InvalidParameter: it is the default partition, or it is loaded.
    """
    view = named(snapshot, message.database, message.collection)
    meta = view.meta
    if message.partition == DEFAULT_PARTITION:
        raise InvalidParameter("default partition cannot be deleted")
    if (partition := meta.partition_by_name.get(message.partition)) is None:
        return NOTHING
    if partition.loaded:
        raise InvalidParameter(
            "partition cannot be dropped, partition is loaded, please release it first: "
            f"{message.partition!r} of collection {meta.name!r}"
        )
    rest = tuple(other for other in meta.partitions if other.id != partition.id)
    # Deletes confined to the partition have nothing left to delete.
    deletes = tuple(file for file in meta.deletes if file.partition_id != partition.id)
    segments = tuple(
        segment.key for segment in view.segments.values() if segment.partition_id == partition.id
    )
    return Edit((changed(meta, partitions=rest, deletes=deletes, updated=fresh()),), segments)
