"""Which files a collection is made of, each with its size and checksum."""

from __future__ import annotations

from collections.abc import Set

import msgspec

from mishards.backup.manifest import BackupFile
from mishards.core.checksum import crc32
from mishards.core.ids import CollectionId
from mishards.metadata.models import SegmentMeta
from mishards.metadata.snapshot import CollectionView
from mishards.segments.manifest import decode_manifest
from mishards.segments.named import (
    NamedObject,
    ObjectKind,
    collection_objects,
    manifest_objects,
)
from mishards.storage.protocol import ObjectStore


class Inventory(msgspec.Struct, frozen=True, kw_only=True):
    """A collection's segments, and the files that they and its metadata name."""

    view: CollectionView
    segments: tuple[SegmentMeta, ...]
    files: tuple[BackupFile, ...]

    def without(self, damaged: Set[tuple[CollectionId, str]]) -> Inventory:
        """The same without indexes that cannot be read, given by collection and path."""
        gone = {path for collection_id, path in damaged if collection_id == self.view.id}
        if not gone:
            return self
        segments = tuple(
            msgspec.structs.replace(
                segment,
                indexes=tuple(i for i in segment.indexes if f"{segment.id}/{i.name}" not in gone),
            )
            for segment in self.segments
        )
        files = tuple(file for file in self.files if file.path not in gone)
        return Inventory(view=self.view, segments=segments, files=files)


async def take_inventory(store: ObjectStore, view: CollectionView) -> Inventory:
    """All files of a collection: what metadata names, and what manifests name.

    Raises:
        ObjectNotFound, CorruptObject: a manifest is missing or damaged; names it.
    """
    files: list[BackupFile] = []
    for named in collection_objects(view):
        if named.kind is not ObjectKind.MANIFEST:
            files.append(_file(view.id, named))
            continue
        data = await store.get(named.key)
        manifest = decode_manifest(data, named.key)
        path = named.key.removeprefix(folder_of(view.id))
        files.append(BackupFile(path=path, size_bytes=len(data), checksum=crc32(data)))
        files += [_file(view.id, one) for one in manifest_objects(manifest)]
    return Inventory(view=view, segments=tuple(view.segments.values()), files=tuple(files))


def folder_of(collection_id: CollectionId) -> str:
    """What the keys of all of a collection's files begin with."""
    return f"segments/{collection_id}/"


def _file(collection_id: CollectionId, named: NamedObject) -> BackupFile:
    assert named.info is not None
    return BackupFile(
        path=named.key.removeprefix(folder_of(collection_id)),
        size_bytes=named.info.size_bytes,
        checksum=named.info.checksum,
        index=named.kind is ObjectKind.INDEX,
    )
