"""Index files that readers found damaged: looked at, and built anew.

Invariants: nothing is done on a reader's word alone; an index is dropped from the metadata only
when the leader itself finds its file damaged, one at a time. Builds see what is missing and make
another file, so healing needs no state of its own. An index is not built anew more often than
its pause allows, which doubles each time: a failing disk is no reason to build without end.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import msgspec

from mishards.core.errors import CorruptObject, MishardsError, ObjectNotFound, SegmentNotFound
from mishards.core.ids import IndexId, SegmentId
from mishards.core.runtime import Runtime
from mishards.index.registry import family
from mishards.metadata.models import IndexMeta, SegmentIndex, SegmentMeta
from mishards.metadata.snapshot import MetadataSnapshot
from mishards.rpc.messages import DamageReply, ReportDamage
from mishards.segments.layout import segment_key
from mishards.segments.manifest import FileInfo, check_bytes, verify_file
from mishards.storage.protocol import ObjectStore
from mishards.writer.catalog import Catalog
from mishards.writer.config import WriterConfig
from mishards.writer.edit import NOTHING, Edit
from mishards.writer.scratch import scratch_folder

_log = logging.getLogger(__name__)
_MOST_DOUBLINGS = 10
_MOST_REMEMBERED = 10_000
_DAMAGE = (CorruptObject, ObjectNotFound, SegmentNotFound)


class _Named(msgspec.Struct, frozen=True):
    """What the newest metadata says of a reported file."""

    segment: SegmentMeta
    built: SegmentIndex
    index: IndexMeta


class DamagedIndexes:
    """Answers reports. From the loop's thread."""

    def __init__(
        self, runtime: Runtime, config: WriterConfig, store: ObjectStore, catalog: Catalog
    ) -> None:
        self._runtime = runtime
        self._config = config
        self._store = store
        self._catalog = catalog
        self._lock = asyncio.Lock()
        self._rebuilt: dict[tuple[SegmentId, IndexId], tuple[int, float]] = {}

    async def report(self, message: ReportDamage) -> DamageReply:
        """Look at the file, and drop the index from the metadata where it is damaged.

        Raises:
            StorageError: the file cannot be looked at now; retriable.
            MetadataUnavailable, Fenced: as `Catalog.commit`.
        """
        async with self._lock:
            named = _named(self._catalog.snapshot, message)
            if named is None:
                return DamageReply(rebuilt=False, reason="metadata no longer names the file")
            work = (named.segment.id, named.built.index_id)
            count, not_before_s = self._rebuilt.get(work, (0, 0.0))
            if count and self._runtime.monotonic_s() < not_before_s:
                return DamageReply(rebuilt=False, reason="it was built anew a short while ago")
            found = await self._damage(named)
            if found is None:
                return DamageReply(rebuilt=False, reason="the file is sound where it is stored")
            _log.warning(
                "index %r of segment %d is built anew: %s",
                named.index.name,
                named.segment.id,
                found.message,
            )
            await self._catalog.commit(lambda snapshot: _dropping(snapshot, message))
            self._remember(work, count + 1)
            return DamageReply(rebuilt=True, reason=found.message)

    def _remember(self, work: tuple[SegmentId, IndexId], count: int) -> None:
        pause_s = self._config.build_retry_s * 2 ** min(count - 1, _MOST_DOUBLINGS)
        self._rebuilt.pop(work, None)
        self._rebuilt[work] = (count, self._runtime.monotonic_s() + pause_s)
        if len(self._rebuilt) > _MOST_REMEMBERED:
            del self._rebuilt[next(iter(self._rebuilt))]

    async def _damage(self, named: _Named) -> MishardsError | None:
        """What is wrong with the file; None where it is sound."""
        built = named.built
        key = segment_key(named.segment.collection_id, named.segment.id, built.name)
        info = FileInfo(size_bytes=built.size_bytes, checksum=built.checksum)
        try:
            if (path := self._store.local_path(key)) is not None:
                await self._runtime.blocking(_examine, path, info, named.index)
                return None
            data = await self._store.get(key)
            await self._runtime.blocking(check_bytes, data, info, f"object {key!r}")
            async with scratch_folder(self._runtime, self._config.scratch) as folder:
                path = folder / built.name
                await self._runtime.blocking(path.write_bytes, data)
                await self._runtime.blocking(_examine, path, info, named.index)
        except _DAMAGE as error:
            return error
        return None


def _examine(path: Path, info: FileInfo, index: IndexMeta) -> None:
    """Read the file, and open it: one of another format is whole and of no use all the same."""
    verify_file(path, info)
    family(index.family).open(path, index.metric)


def _named(snapshot: MetadataSnapshot, message: ReportDamage) -> _Named | None:
    view = snapshot.collections.get(message.collection)
    segment = None if view is None else view.segments.get(message.segment)
    if view is None or segment is None:
        return None
    built = next((one for one in segment.indexes if one.name == message.name), None)
    index = next((i for i in view.meta.indexes if built and i.id == built.index_id), None)
    return None if built is None or index is None else _Named(segment, built, index)


def _dropping(snapshot: MetadataSnapshot, message: ReportDamage) -> Edit:
    """Name the file no more; nothing where it is not named any more."""
    named = _named(snapshot, message)
    if named is None:
        return NOTHING
    others = tuple(one for one in named.segment.indexes if one.name != message.name)
    return Edit((msgspec.structs.replace(named.segment, indexes=others),))
