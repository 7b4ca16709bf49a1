"""Compares the objects of collections with what metadata and manifests say of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mishards.backup.flow import run_all
from mishards.core.errors import MishardsError, ObjectNotFound, StorageError
from mishards.core.ids import LogId
from mishards.metadata.models import SegmentMeta
from mishards.metadata.snapshot import CollectionView, MetadataSnapshot
from mishards.segments.layout import parse_key
from mishards.segments.manifest import Manifest, decode_manifest
from mishards.segments.named import NamedObject, ObjectKind, collection_objects, manifest_objects
from mishards.upkeep.findings import Finding, Orphan, Subject
from mishards.upkeep.reading import PacedReader
from mishards.writer.garbage import unreferenced

_AT_ONCE = 4
_SUBJECTS = {ObjectKind.INDEX: Subject.INDEX, ObjectKind.DELETES: Subject.DELETES}


class SegmentInspection:
    """One look at the objects below `segments/`. From the loop's thread.

    Attributes:
        objects, size_bytes: that are named, as far as could be told.
    """

    def __init__(self, reader: PacedReader, sizes: Mapping[str, int], *, deep: bool) -> None:
        """`sizes`: of all objects there, by key, listed after the metadata was read."""
        self._reader = reader
        self._sizes = sizes
        self._deep = deep
        self.objects = 0
        self.size_bytes = 0
        self.findings: list[Finding] = []

    async def inspect(self, view: CollectionView) -> None:
        """Look at all objects of a collection."""

        async def inspect(named: NamedObject) -> None:
            if named.kind is ObjectKind.MANIFEST:
                await self._inspect_segment(view, named)
            else:
                await self._inspect_object(view, named)

        await run_all(collection_objects(view), inspect, _AT_ONCE)

    async def _inspect_segment(self, view: CollectionView, named: NamedObject) -> None:
        if named.key not in self._sizes:
            self._find(view, named, f"object {named.key!r} is missing")
            return
        self._count(named.key)
        try:
            manifest = decode_manifest(await self._reader.get(named.key), named.key)
        except StorageError as error:
            self._find(view, named, error.message)
            return
        if (wrong := _contradiction(view.segments[named.segment_id], manifest)) is not None:
            self._find(view, named, f"manifest {named.key!r} {wrong}")
            return
        for part in manifest_objects(manifest):
            await self._inspect_object(view, part)

    async def _inspect_object(self, view: CollectionView, named: NamedObject) -> None:
        try:
            await self._compare(named)
        except MishardsError as error:
            self._find(view, named, error.message)

    async def _compare(self, named: NamedObject) -> None:
        """Raises `ObjectNotFound`, `CorruptObject`, `StorageError`."""
        assert named.info is not None
        size = self._sizes.get(named.key)
        if size is None:
            raise ObjectNotFound(f"object {named.key!r} is missing")
        self._count(named.key)
        if size != named.info.size_bytes:
            raise StorageError(
                f"object {named.key!r} has {size} bytes; {named.info.size_bytes} are expected"
            )
        if self._deep:
            await self._reader.compare(named.key, named.info)

    def _count(self, key: str) -> None:
        self.objects += 1
        self.size_bytes += self._sizes[key]

    def _find(self, view: CollectionView, named: NamedObject, message: str) -> None:
        self.findings.append(
            Finding(
                subject=_SUBJECTS.get(named.kind, Subject.SEGMENT),
                key=named.key,
                message=message,
                collection=view.name,
                collection_id=view.id,
                segment_id=named.segment_id,
                log_id=view.meta.log_id,
            )
        )


def orphans(sizes: Mapping[str, int], snapshot: MetadataSnapshot) -> Iterator[Orphan]:
    """Objects that nothing names, those among them that this release never makes."""
    logs = {LogId(0), *(view.meta.log_id for view in snapshot.collections.values())}
    found = {key for log_id in logs for key in unreferenced(sizes, snapshot, log_id)}
    found.update(key for key in sizes if parse_key(key) is None)
    for key in sorted(found):
        yield Orphan(key=key, size_bytes=sizes[key])


def _contradiction(meta: SegmentMeta, manifest: Manifest) -> str | None:
    """In what a manifest is not that of its segment; in words."""
    for name, said, told in (
        ("segment", manifest.segment_id, meta.id),
        ("collection", manifest.collection_id, meta.collection_id),
        ("partition", manifest.partition_id, meta.partition_id),
        ("rows", manifest.rows, meta.rows),
    ):
        if said != told:
            return f"says {name} {said}; metadata says {told}"
    return None
