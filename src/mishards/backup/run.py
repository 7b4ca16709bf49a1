"""The commands on backups: from a configuration and a place to what was done there.

Invariant: whatever they raise, they leave no task, connection or scratch file behind.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from mishards.backup.apart import check_apart, folder_of
from mishards.backup.create import BackupMaker, BackupReport
from mishards.backup.manifest import Backup
from mishards.backup.progress import Progress, Unwatched
from mishards.backup.restore import Restorer, RestoreReport
from mishards.backup.session import data_session
from mishards.backup.target import BackupTarget, Removed
from mishards.core.errors import ConfigError, InvalidParameter
from mishards.core.runtime import Runtime, SystemRuntime
from mishards.core.secret import redact
from mishards.server.config import Config
from mishards.server.scratch import node_scratch
from mishards.storage.protocol import ObjectStore
from mishards.storage.registry import open_store

_SCRATCH = ".scratch"
"""A name that no object can have, so a store on a file system passes over it."""
_THREADS = 8


class BackupSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the list; an unfinished backup is under way or was interrupted."""

    name: str
    created: str
    finished: bool
    timestamp: int = 0
    collections: tuple[str, ...] = ()
    rows: int = 0
    size_bytes: int = 0
    warnings: tuple[str, ...] = ()


async def run_backup(
    config: Config,
    to: str,
    name: str,
    collections: Sequence[str] = (),
    rate_bytes_s: float = 0.0,
    progress: Progress | None = None,
) -> BackupReport:
    """Back up a data set, live or stopped. Raises what `BackupMaker.make` does, `ConfigError`."""
    _check_rate(rate_bytes_s)
    check_apart(config.cluster.data, to)
    async with (
        _runtime() as runtime,
        data_session(config, runtime, create=False) as session,
        _place(to, runtime, create=True) as target,
    ):
        with _scratch_of(target.store) as scratch:
            maker = BackupMaker(
                runtime,
                session.seams.store,
                session.seams.metadata,
                target,
                scratch,
                progress or Unwatched(),
                rate_bytes_s,
            )
            return await maker.make(name or _dated_name(runtime), collections)


async def run_restore(
    config: Config,
    source: str,
    name: str = "",
    collections: Sequence[str] = (),
    renames: Mapping[str, str] | None = None,
    rate_bytes_s: float = 0.0,
    progress: Progress | None = None,
) -> RestoreReport:
    """Restore the backup `name`, the newest when it is empty. Raises what `Restorer.restore` does,
    `ConfigError`."""
    _check_rate(rate_bytes_s)
    check_apart(config.cluster.data, source)
    async with _runtime() as runtime, _place(source, runtime, create=False) as target:
        backup = await (target.read(name) if name else target.newest())
        async with data_session(config, runtime, create=True) as session:
            with _scratch_of(session.seams.store) as scratch:
                restorer = Restorer(session, target, scratch, progress or Unwatched(), rate_bytes_s)
                return await restorer.restore(backup, collections, renames)


async def list_backups(place: str) -> list[BackupSummary]:
    """All backups, oldest first. Raises `ConfigError`, `CorruptObject`, `StorageError`."""
    async with _runtime() as runtime, _place(place, runtime, create=False) as target:
        whole = [_summary(backup) for backup in await target.backups()]
        names = {one.name for one in whole}
        begun = {one.name: one for one in await target.unfinished() if one.name not in names}
    unfinished = [
        BackupSummary(name=one.name, created=_shown_time(one.started_ms), finished=False)
        for one in begun.values()
    ]
    return sorted([*whole, *unfinished], key=lambda one: (one.created, one.name))


async def delete_backup(place: str, name: str) -> Removed:
    """Delete one backup. Raises what `BackupTarget.delete` does, `ConfigError`."""
    async with _runtime() as runtime, _place(place, runtime, create=False) as target:
        return await target.delete(name)


@contextlib.asynccontextmanager
async def _runtime() -> AsyncIterator[Runtime]:
    runtime = SystemRuntime(threads=_THREADS)
    try:
        yield runtime
    finally:
        await runtime.close()


@contextlib.asynccontextmanager
async def _place(url: str, runtime: Runtime, *, create: bool) -> AsyncIterator[BackupTarget]:
    folder = folder_of(url)
    if folder is not None and not create and not folder.is_dir():
        raise ConfigError(f"no backups at {redact(url)!r}: there is no such folder")
    store = open_store(url, runtime)
    try:
        yield BackupTarget(store)
    finally:
        await store.close()


@contextlib.contextmanager
def _scratch_of(store: ObjectStore) -> Iterator[Path]:
    """An empty folder, on the file system of the store where it is on one."""
    path = store.local_path("x")
    if path is None:
        with node_scratch() as scratch:
            yield scratch
        return
    parent = path.parent / _SCRATCH
    with node_scratch(str(parent)) as scratch:
        yield scratch
    with contextlib.suppress(OSError):
        parent.rmdir()


def _check_rate(rate_bytes_s: float) -> None:
    if rate_bytes_s < 0:
        raise InvalidParameter(f"invalid rate of {rate_bytes_s:g} bytes a second: 0 or more")


def _dated_name(runtime: Runtime) -> str:
    now = datetime.fromtimestamp(runtime.now_ms() / 1000, UTC)
    return now.strftime("%Y%m%dT%H%M%S.%f")[:-3] + "Z"


def _summary(backup: Backup) -> BackupSummary:
    return BackupSummary(
        name=backup.name,
        created=_shown_time(backup.created_ms),
        finished=True,
        timestamp=backup.timestamp,
        collections=tuple(one.full_name for one in backup.collections),
        rows=backup.rows,
        size_bytes=backup.size_bytes,
        warnings=backup.warnings,
    )


def _shown_time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
