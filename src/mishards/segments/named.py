"""Every object on shared storage that metadata names, with the size and checksum it must have.

Invariants: pure. A segment is named by its manifest, and its manifest names its other files; the
rest metadata names itself. Log entries are not among them: `log.store` walks those.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator

import msgspec

from mishards.core.ids import CollectionId, IndexId, SegmentId
from mishards.metadata.models import DeleteFile, SegmentIndex, SegmentMeta
from mishards.metadata.snapshot import CollectionView, MetadataSnapshot
from mishards.segments.layout import COLUMNS, MANIFEST, deletes_key, segment_key
from mishards.segments.manifest import FileInfo, Manifest


class ObjectKind(enum.StrEnum):
    """What an object holds."""

    MANIFEST = "manifest"
    COLUMNS = "columns"
    VECTORS = "vectors"
    INDEX = "index"
    DELETES = "deletes"


class NamedObject(msgspec.Struct, frozen=True, kw_only=True):
    """An object that must be there.

    Attributes:
        segment_id: that it belongs to; 0 for a file of deletes.
        index_id: of the index that it holds; 0 for none.
        info: size and checksum; None for a manifest, which carries its own checksum.
    """

    key: str
    kind: ObjectKind
    collection_id: CollectionId
    segment_id: SegmentId = SegmentId(0)
    index_id: IndexId = IndexId(0)
    info: FileInfo | None = None


def named_objects(snapshot: MetadataSnapshot) -> Iterator[NamedObject]:
    """What metadata names by itself: manifests, indexes, files of deletes.

    See `manifest_objects` for the files that a manifest names.
    """
    for view in snapshot.collections.values():
        yield from collection_objects(view)


def collection_objects(view: CollectionView) -> Iterator[NamedObject]:
    """As `named_objects`, of one collection."""
    for file in view.meta.deletes:
        yield _deletes(view.id, file)
    for segment in view.segments.values():
        yield manifest_object(segment)
        for index in segment.indexes:
            yield index_object(segment, index)


def manifest_object(segment: SegmentMeta) -> NamedObject:
    return NamedObject(
        key=segment_key(segment.collection_id, segment.id, MANIFEST),
        kind=ObjectKind.MANIFEST,
        collection_id=segment.collection_id,
        segment_id=segment.id,
    )


def index_object(segment: SegmentMeta, index: SegmentIndex) -> NamedObject:
    return NamedObject(
        key=segment_key(segment.collection_id, segment.id, index.name),
        kind=ObjectKind.INDEX,
        collection_id=segment.collection_id,
        segment_id=segment.id,
        index_id=index.index_id,
        info=FileInfo(size_bytes=index.size_bytes, checksum=index.checksum),
    )


def manifest_objects(manifest: Manifest) -> Iterator[NamedObject]:
    """The files that a manifest names."""
    for name, info in manifest.files.items():
        yield NamedObject(
            key=segment_key(manifest.collection_id, manifest.segment_id, name),
            kind=ObjectKind.COLUMNS if name == COLUMNS else ObjectKind.VECTORS,
            collection_id=manifest.collection_id,
            segment_id=manifest.segment_id,
            info=info,
        )


def _deletes(collection_id: CollectionId, file: DeleteFile) -> NamedObject:
    return NamedObject(
        key=deletes_key(collection_id, file.name),
        kind=ObjectKind.DELETES,
        collection_id=collection_id,
        info=FileInfo(size_bytes=file.size_bytes, checksum=file.checksum),
    )
