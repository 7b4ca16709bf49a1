"""Files of segments and deletes as local files, where they lie or as copies.

Invariant: what is being read stays, though metadata may let go of it meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path

from mishards.core.ids import CollectionId
from mishards.core.runtime import Runtime
from mishards.metadata.models import DeleteFile, SegmentMeta
from mishards.segments.layout import COLUMNS, MANIFEST, deletes_key, segment_key
from mishards.segments.manifest import decode_manifest
from mishards.storage.fetch import fetch
from mishards.storage.protocol import ObjectStore
from mishards.writer.construction import Construction
from mishards.writer.merging import StoredDeletes, StoredSegment


class Inputs:
    """Gives files of shared storage to blocking work. From the loop's thread."""

    def __init__(self, runtime: Runtime, store: ObjectStore, construction: Construction) -> None:
        self._runtime = runtime
        self._store = store
        self._construction = construction

    def held(
        self, segments: Iterable[SegmentMeta], deletes: Iterable[DeleteFile], of: CollectionId
    ) -> AbstractContextManager[None]:
        """Keep the files of a collection from garbage collection for the length of a body."""
        folders = [segment_key(of, segment.id, "") for segment in segments]
        return self._construction.holding(
            [*folders, *(deletes_key(of, file.name) for file in deletes)]
        )

    async def segment(
        self, meta: SegmentMeta, into: Path, *, with_vectors: bool = True
    ) -> StoredSegment:
        """A segment; where storage has no local files, copied into a folder below `into`.

        Raises:
            ObjectNotFound, CorruptObject, StorageError.
        """
        key = segment_key(meta.collection_id, meta.id, MANIFEST)
        if (path := self._store.local_path(key)) is not None:
            return StoredSegment(meta, str(path.parent))
        folder = into / f"input-{meta.id}"
        await self._runtime.blocking(folder.mkdir)
        data = await self._store.get(key)
        await self._runtime.blocking((folder / MANIFEST).write_bytes, data)
        for name, info in decode_manifest(data, key).files.items():
            if with_vectors or name == COLUMNS:
                key = segment_key(meta.collection_id, meta.id, name)
                await fetch(self._store, self._runtime, key, info.size_bytes, folder / name)
        return StoredSegment(meta, str(folder))

    async def deletes(
        self, collection: CollectionId, file: DeleteFile, into: Path
    ) -> StoredDeletes:
        """A file of deletes, likewise.

        Raises:
            ObjectNotFound, StorageError.
        """
        key = deletes_key(collection, file.name)
        if (path := self._store.local_path(key)) is None:
            path = into / f"deletes-{file.name}"
            await self._runtime.blocking(path.write_bytes, await self._store.get(key))
        return StoredDeletes(file, str(path))
