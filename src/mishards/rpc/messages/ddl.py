"""Changes of metadata: from proxies to the leader of a log."""

from __future__ import annotations

import msgspec

from mishards.core.ids import DDL_LOG, LogId, MetadataVersion
from mishards.core.schema import CollectionSchema
from mishards.metadata.models import CollectionMeta, SegmentMeta
from mishards.rpc.messages.form import Form


class CreateDatabase(Form, frozen=True, kw_only=True, tag="create_database"):
    name: str
    properties: tuple[tuple[str, str], ...] = ()


class DropDatabase(Form, frozen=True, kw_only=True, tag="drop_database"):
    name: str


class AlterDatabase(Form, frozen=True, kw_only=True, tag="alter_database"):
    name: str
    properties: tuple[tuple[str, str], ...] = ()
    removed: tuple[str, ...] = ()


class CreateCollection(Form, frozen=True, kw_only=True, tag="create_collection"):
    """`schema` is checked; fields carry their ids."""

    database: str
    schema: CollectionSchema
    consistency: int = 2
    shards: int = 1


class DropCollection(Form, frozen=True, kw_only=True, tag="drop_collection"):
    """Dropping a missing collection succeeds, as in Milvus."""

    database: str
    name: str


class RenameCollection(Form, frozen=True, kw_only=True, tag="rename_collection"):
    database: str
    name: str
    new_database: str
    new_name: str


class AlterCollection(Form, frozen=True, kw_only=True, tag="alter_collection"):
    database: str
    name: str
    properties: tuple[tuple[str, str], ...] = ()
    removed: tuple[str, ...] = ()


class TruncateCollection(Form, frozen=True, kw_only=True, tag="truncate_collection"):
    """Let go of all rows so far: which those are, the leader of the collection's log knows."""

    database: str
    name: str
    log: LogId = LogId(0)


class CreatePartition(Form, frozen=True, kw_only=True, tag="create_partition"):
    database: str
    collection: str
    partition: str


class DropPartition(Form, frozen=True, kw_only=True, tag="drop_partition"):
    database: str
    collection: str
    partition: str


class CreateAlias(Form, frozen=True, kw_only=True, tag="create_alias"):
    database: str
    collection: str
    alias: str


class AlterAlias(Form, frozen=True, kw_only=True, tag="alter_alias"):
    database: str
    collection: str
    alias: str


class DropAlias(Form, frozen=True, kw_only=True, tag="drop_alias"):
    database: str
    alias: str


class CreateIndex(Form, frozen=True, kw_only=True, tag="create_index"):
    """Index a field.

    Attributes:
        params: in one level, `index_type` and `metric_type` among them.
        given: as `IndexMeta`'s.
    """

    database: str
    collection: str
    field: str
    name: str = ""
    params: dict[str, str] = msgspec.field(default_factory=dict)
    given: tuple[tuple[str, str], ...] = ()


class DropIndex(Form, frozen=True, kw_only=True, tag="drop_index"):
    """By index name or, when that is empty, by field."""

    database: str
    collection: str
    field: str = ""
    name: str = ""


class Load(Form, frozen=True, kw_only=True, tag="load"):
    """Load the partitions, or the whole collection when there are none."""

    database: str
    collection: str
    partitions: tuple[str, ...] = ()
    replica_number: int = 1


class Release(Form, frozen=True, kw_only=True, tag="release"):
    database: str
    collection: str
    partitions: tuple[str, ...] = ()


class ImportedCollection(msgspec.Struct, frozen=True, kw_only=True):
    """A collection whose files are on storage under its own, fresh ids."""

    database: str
    meta: CollectionMeta
    segments: tuple[SegmentMeta, ...] = ()


class ImportCollections(Form, frozen=True, kw_only=True, tag="import_collections"):
    """Let collections appear, all of them or none. Importing the same again succeeds.

    Attributes:
        databases: made where they are missing, with these properties.
    """

    collections: tuple[ImportedCollection, ...]
    databases: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()


class DdlOnce(Form, frozen=True, kw_only=True, tag="ddl_once"):
    """A DDL that is applied once, however often its token comes.

    Attributes:
        token: 16 bytes, the same in every retry.
        log: whose leader is to do it.
        version: of the metadata that it was decided with; the leader's is as new.
    """

    token: bytes
    ddl: Ddl
    log: LogId = DDL_LOG
    version: MetadataVersion = MetadataVersion(0)


class Committed(Form, frozen=True, kw_only=True, tag="committed"):
    """A DDL is done as of metadata `version`."""

    version: MetadataVersion


Ddl = (
    CreateDatabase
    | DropDatabase
    | AlterDatabase
    | CreateCollection
    | DropCollection
    | RenameCollection
    | AlterCollection
    | TruncateCollection
    | CreatePartition
    | DropPartition
    | CreateAlias
    | AlterAlias
    | DropAlias
    | CreateIndex
    | DropIndex
    | Load
    | Release
    | ImportCollections
)
