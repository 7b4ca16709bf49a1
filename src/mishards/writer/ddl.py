"""Which function decides each DDL message."""

from __future__ import annotations

from typing import Any, Protocol

from mishards.metadata.snapshot import MetadataSnapshot
from mishards.rpc import messages
from mishards.writer import (
    ddl_aliases,
    ddl_collections,
    ddl_databases,
    ddl_imports,
    ddl_indexes,
    ddl_loading,
    ddl_partitions,
)
from mishards.writer.edit import Edit, Fresh


class DdlRule(Protocol):
    """Decides one kind of message on a snapshot. Pure; raises `MishardsError`."""

    def __call__(self, snapshot: MetadataSnapshot, message: Any, fresh: Fresh) -> Edit: ...


DDL_RULES: dict[type[Any], DdlRule] = {
    messages.CreateDatabase: ddl_databases.create_database,
    messages.DropDatabase: ddl_databases.drop_database,
    messages.AlterDatabase: ddl_databases.alter_database,
    messages.CreateCollection: ddl_collections.create_collection,
    messages.DropCollection: ddl_collections.drop_collection,
    messages.RenameCollection: ddl_collections.rename_collection,
    messages.AlterCollection: ddl_collections.alter_collection,
    messages.TruncateCollection: ddl_collections.truncate_collection,
    messages.CreatePartition: ddl_partitions.create_partition,
    messages.DropPartition: ddl_partitions.drop_partition,
    messages.CreateAlias: ddl_aliases.create_alias,
    messages.AlterAlias: ddl_aliases.alter_alias,
    messages.DropAlias: ddl_aliases.drop_alias,
    messages.CreateIndex: ddl_indexes.create_index,
    messages.DropIndex: ddl_indexes.drop_index,
    messages.Load: ddl_loading.load,
    messages.Release: ddl_loading.release,
    messages.ImportCollections: ddl_imports.import_collections,
}
