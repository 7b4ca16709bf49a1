"""An immutable view of all metadata at one version, made anew for each change.

Invariants: a snapshot never changes after it was made, so readers share it without locks; what a
change does not touch is shared with the snapshot before; versions only rise. Records of kinds
that this version of the code does not know are passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar, cast

import msgspec

from mishards.core.errors import (
    CollectionNotFound,
    CorruptObject,
    DatabaseNotFound,
    MetadataConflict,
)
from mishards.core.ids import CollectionId, DatabaseId, LogId, MetadataVersion, SegmentId, Timestamp
from mishards.core.schema import CollectionSchema
from mishards.metadata.models import (
    DEFAULT_DATABASE,
    CollectionMeta,
    DatabaseMeta,
    DdlMeta,
    LogMeta,
    Record,
    SegmentMeta,
    decode,
)
from mishards.metadata.protocol import Changes

R = TypeVar("R", bound=Record)


class CollectionView(msgspec.Struct, frozen=True):
    """A collection and its sealed segments, as of one version."""

    meta: CollectionMeta
    segments: Mapping[SegmentId, SegmentMeta] = {}

    @property
    def id(self) -> CollectionId:
        return self.meta.id

    @property
    def schema(self) -> CollectionSchema:
        return self.meta.schema

    @property
    def name(self) -> str:
        return self.meta.schema.name


class MetadataSnapshot(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """All metadata of `version`. Any thread may read it; treat the maps as read-only.

    Attributes:
        databases: by name.
        names: collection of each name and alias, within a database.
        ddls: when each of the last DDLs was done, by its token in hexadecimal digits.
    """

    version: MetadataVersion = MetadataVersion(0)
    databases: Mapping[str, DatabaseMeta] = {}
    collections: Mapping[CollectionId, CollectionView] = {}
    logs: Mapping[LogId, LogMeta] = {}
    names: Mapping[tuple[DatabaseId, str], CollectionId] = {}
    ddls: Mapping[str, Timestamp] = {}

    @classmethod
    def empty(cls) -> MetadataSnapshot:
        """The state before the first commit: not even the default database."""
        return cls()

    def apply(self, changes: Changes) -> MetadataSnapshot:
        """The snapshot after `changes`; `self` when it is already as new as they are.

        Changes that begin before this snapshot's version are fine: they hold whole records.
        Cost: that of the change, one copy of the top-level maps, and one of the segment map of
        each collection whose segments change.

        Raises:
            MetadataConflict: the changes begin after this snapshot's version; ask for those
                since `version`.
            CorruptObject: a record cannot be decoded; names its key.
        """
        if changes.version <= self.version:
            return self
        if changes.since > self.version:
            raise MetadataConflict(
                f"metadata changes {changes.since}…{changes.version} do not follow "
                f"version {self.version}"
            )
        state = _Draft(self if changes.since else MetadataSnapshot())
        puts: dict[str, list[tuple[str, bytes]]] = {}
        for key, data in changes.puts:
            puts.setdefault(key.partition("/")[0], []).append((key, data))
        for key in changes.deletes:
            state.delete(key)
        for key, data in puts.get("database", ()):
            state.put_database(_decode(key, data, DatabaseMeta))
        for key, data in puts.get("collection", ()):
            state.put_collection(_decode(key, data, CollectionMeta))
        for key, data in puts.get("segment", ()):
            state.put_segment(_decode(key, data, SegmentMeta))
        for key, data in puts.get("log", ()):
            log = _decode(key, data, LogMeta)
            state.logs[log.id] = log
        for key, data in puts.get("ddl", ()):
            ddl = _decode(key, data, DdlMeta)
            state.ddls[ddl.token] = ddl.done
        return state.snapshot(changes.version)

    def database(self, name: str) -> DatabaseMeta:
        """The database of that name; an empty one means the default database.

        Raises:
            DatabaseNotFound: there is none.
        """
        if (found := self.databases.get(name or DEFAULT_DATABASE)) is None:
            raise DatabaseNotFound(f"database not found[database={name or DEFAULT_DATABASE}]")
        return found

    def find(self, database: str, name_or_alias: str) -> CollectionView | None:
        """The collection of that name or alias; None when it, or the database, is absent."""
        owner = self.databases.get(database or DEFAULT_DATABASE)
        if owner is None:
            return None
        collection_id = self.names.get((owner.id, name_or_alias))
        return None if collection_id is None else self.collections[collection_id]

    def resolve(self, database: str, name_or_alias: str) -> CollectionView:
        """The collection of that name or alias.

        Raises:
            DatabaseNotFound, CollectionNotFound: names what is missing.
        """
        if (found := self.find(database, name_or_alias)) is not None:
            return found
        owner = self.database(database)
        raise CollectionNotFound(
            f"collection not found[database={owner.name}][collection={name_or_alias}]"
        )


class _Draft:
    """Copies of a snapshot's maps while one change is worked in."""

    def __init__(self, start: MetadataSnapshot) -> None:
        self.databases = dict(start.databases)
        self.collections = dict(start.collections)
        self.logs = dict(start.logs)
        self.names = dict(start.names)
        self.ddls = dict(start.ddls)
        self._segments: dict[CollectionId, dict[SegmentId, SegmentMeta]] = {}

    def put_database(self, database: DatabaseMeta) -> None:
        self._drop_database(database.id)
        self.databases[database.name] = database

    def put_collection(self, collection: CollectionMeta) -> None:
        old = self.collections.get(collection.id)
        if old is not None:
            self._drop_names(old.meta)
        self.collections[collection.id] = CollectionView(
            collection, {} if old is None else old.segments
        )
        for name in (collection.name, *collection.aliases):
            self.names[collection.database_id, name] = collection.id

    def put_segment(self, segment: SegmentMeta) -> None:
        if (segments := self._segments_of(segment.collection_id)) is not None:
            segments[segment.id] = segment

    def delete(self, key: str) -> None:
        kind, _, rest = key.partition("/")
        if kind == "segment":
            collection_id, _, segment_id = rest.partition("/")
            segments = self._segments_of(CollectionId(int(collection_id)))
            if segments is not None:
                segments.pop(SegmentId(int(segment_id)), None)
        elif kind == "collection":
            view = self.collections.pop(CollectionId(int(rest)), None)
            if view is not None:
                self._drop_names(view.meta)
                self._segments.pop(view.id, None)
        elif kind == "database":
            self._drop_database(DatabaseId(int(rest)))
        elif kind == "log":
            self.logs.pop(LogId(int(rest)), None)
        elif kind == "ddl":
            self.ddls.pop(rest, None)

    def snapshot(self, version: MetadataVersion) -> MetadataSnapshot:
        for collection_id, segments in self._segments.items():
            meta = self.collections[collection_id].meta
            self.collections[collection_id] = CollectionView(meta, segments)
        return MetadataSnapshot(
            version=version,
            databases=self.databases,
            collections=self.collections,
            logs=self.logs,
            names=self.names,
            ddls=self.ddls,
        )

    def _segments_of(self, collection_id: CollectionId) -> dict[SegmentId, SegmentMeta] | None:
        """The segments to change; None when the collection is gone, and with it all segments."""
        if (draft := self._segments.get(collection_id)) is None:
            if (view := self.collections.get(collection_id)) is None:
                return None
            draft = self._segments[collection_id] = dict(view.segments)
        return draft

    def _drop_names(self, collection: CollectionMeta) -> None:
        """Names that another collection took over in the same change stay with it."""
        for name in (collection.name, *collection.aliases):
            if self.names.get((collection.database_id, name)) == collection.id:
                del self.names[collection.database_id, name]

    def _drop_database(self, database_id: DatabaseId) -> None:
        for name, database in self.databases.items():
            if database.id == database_id:
                del self.databases[name]
                return


def _decode(key: str, data: bytes, kind: type[R]) -> R:
    try:
        record = decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptObject(f"metadata record {key!r} cannot be read: {error}") from error
    if not isinstance(record, kind):
        raise CorruptObject(
            f"metadata record {key!r} holds a {type(record).__name__}, not a {kind.__name__}"
        )
    return cast(R, record)
