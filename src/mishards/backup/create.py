"""Making a backup while writes go on.

Invariants: garbage is not collected and the log not trimmed from before the moment is chosen until
the end; every byte is compared with its checksum on the way; the manifest is made last. An
interrupted backup leaves objects only: what the next one needs of them is not copied again.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from mishards.backup.copying import Copier
from mishards.backup.flow import Flow, run_all
from mishards.backup.inventory import Inventory, folder_of, take_inventory
from mishards.backup.manifest import (
    Backup,
    BackupFile,
    CollectionBackup,
    TailPart,
    check_backup_name,
)
from mishards.backup.moment import Moment, consistent_moment
from mishards.backup.progress import Progress
from mishards.backup.tail import TailWriter
from mishards.backup.target import BackupTarget, Unfinished, object_key
from mishards.core.errors import CorruptObject, ObjectNotFound
from mishards.core.ids import CollectionId, Timestamp
from mishards.core.runtime import Runtime
from mishards.metadata.protocol import MetadataStore
from mishards.storage.pins import pinned
from mishards.storage.protocol import ObjectStore

_AT_ONCE = 4


class BackupReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup has done.

    Attributes:
        bytes_copied: what had to be copied; the rest of `size_bytes` was there already.
    """

    name: str
    timestamp: Timestamp
    collections: tuple[str, ...]
    rows: int
    size_bytes: int
    bytes_copied: int
    objects: int
    objects_copied: int
    seconds: float
    warnings: tuple[str, ...] = ()


class BackupMaker:
    """Makes one backup. All coroutines: from the loop's thread."""

    def __init__(
        self,
        runtime: Runtime,
        store: ObjectStore,
        metadata: MetadataStore,
        target: BackupTarget,
        scratch: Path,
        progress: Progress,
        rate_bytes_s: float = 0.0,
    ) -> None:
        """`scratch`: as `Copier`'s; `rate_bytes_s`: most bytes copied a second, 0 for no limit."""
        self._runtime = runtime
        self._store = store
        self._metadata = metadata
        self._target = target
        self._progress = progress
        self._flow = Flow(runtime, rate_bytes_s, progress.advance)
        self._copier = Copier(runtime, store, target.store, scratch, self._flow)
        self._copied: dict[str, int] = {}
        self._warnings: list[str] = []

    async def make(self, name: str, collections: Sequence[str] = ()) -> BackupReport:
        """Back up the collections, each `name` or `database.name`; all of them when there are none.

        Raises:
            InvalidParameter: the name is not allowed, or taken.
            DatabaseNotFound, CollectionNotFound: names what is missing.
            CorruptObject, ObjectNotFound: data is damaged or missing; names the object.
            StorageError, DiskFull, MetadataUnavailable: try again; what was copied stays.
        """
        check_backup_name(name)
        began_s = self._runtime.monotonic_s()
        run = f"{self._runtime.random.getrandbits(64):016x}"
        cluster = await self._metadata.open("")
        async with AsyncExitStack() as stack:
            self._progress.doing("looking")
            pin = await stack.enter_async_context(
                pinned(self._store, self._runtime, f"backup-{name}")
            )
            moment = await consistent_moment(
                self._runtime, self._store, self._metadata, collections
            )
            inventories = [await take_inventory(self._store, view) for view in moment.views]
            await self._target.begin(self._unfinished(name, run, inventories))
            self._progress.doing("copying segments")
            self._progress.total(sum(f.size_bytes for one in inventories for f in one.files))
            inventories = await self._copy_missing(inventories)
            self._progress.doing("copying growing rows")
            tails = await TailWriter(self._store, self._target.store, self._flow).copy(
                moment, name, run
            )
            self._progress.doing("finishing")
            backup = self._backup(name, run, cluster, moment, inventories, tails)
            await self._copy_missing(inventories, again=True)
            pin.check()
            await self._target.publish(backup)
            # What a deletion took in between, it took before the manifest was there to be seen.
            await self._copy_missing(inventories, again=True)
            await self._target.finish(backup)
        return self._report(backup, self._runtime.monotonic_s() - began_s)

    def _unfinished(self, name: str, run: str, inventories: Sequence[Inventory]) -> Unfinished:
        return Unfinished(
            name=name,
            run=run,
            started_ms=self._runtime.now_ms(),
            host=socket.gethostname(),
            objects=tuple(object_key(one.view.id, f) for one in inventories for f in one.files),
        )

    async def _copy_missing(
        self, inventories: Sequence[Inventory], *, again: bool = False
    ) -> list[Inventory]:
        """Copy what the target lacks; gives what is there afterwards."""
        present = await self._target.present()
        damaged: set[tuple[CollectionId, str]] = set()

        async def copy(job: tuple[CollectionId, BackupFile]) -> None:
            collection_id, file = job
            key = folder_of(collection_id) + file.path
            target_key = object_key(collection_id, file)
            try:
                await self._copier.copy(key, target_key, file.info)
            except (CorruptObject, ObjectNotFound) as error:
                if not file.index:
                    raise
                self._warnings.append(f"left out, to be built again: {error.message}")
                damaged.add((collection_id, file.path))
            else:
                self._copied[target_key] = file.size_bytes

        missing = []
        for one in inventories:
            for file in one.files:
                if present.get(object_key(one.view.id, file)) != file.size_bytes:
                    missing.append((one.view.id, file))
                elif not again:
                    self._flow.skip(file.size_bytes)
        await run_all(missing, copy, _AT_ONCE)
        return [one.without(damaged) for one in inventories]

    def _backup(
        self,
        name: str,
        run: str,
        cluster: str,
        moment: Moment,
        inventories: Sequence[Inventory],
        tails: dict[CollectionId, tuple[TailPart, ...]],
    ) -> Backup:
        databases = {one.id: one for one in moment.snapshot.databases.values()}
        used = {view.meta.database_id for view in moment.views}
        return Backup(
            name=name,
            run=run,
            cluster=cluster,
            created_ms=self._runtime.now_ms(),
            metadata_version=moment.snapshot.version,
            cuts=moment.cuts,
            databases=tuple(databases[one] for one in sorted(used)),
            collections=tuple(
                CollectionBackup(
                    database=databases[one.view.meta.database_id].name,
                    meta=one.view.meta,
                    segments=one.segments,
                    files=one.files,
                    tail=tails[one.view.id],
                )
                for one in inventories
            ),
            warnings=tuple(self._warnings),
        )

    def _report(self, backup: Backup, seconds: float) -> BackupReport:
        tail = [part for one in backup.collections for part in one.tail]
        return BackupReport(
            name=backup.name,
            timestamp=backup.timestamp,
            collections=tuple(one.full_name for one in backup.collections),
            rows=backup.rows,
            size_bytes=backup.size_bytes,
            bytes_copied=sum(self._copied.values()) + sum(part.size_bytes for part in tail),
            objects=sum(len(one.files) for one in backup.collections) + len(tail),
            objects_copied=len(self._copied) + len(tail),
            seconds=seconds,
            warnings=backup.warnings,
        )
