"""Metadata in an SQL database: SQLite, or a server that several machines reach.

Invariants: a commit is one transaction that holds the one row of `mishards_state` locked, so
commits follow one another, and each sees the version and the epoch it checks; deleted records stay
as rows without a body until they are pruned, so that changes can be told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mishards.core.errors import DataInUse, MetadataConflict
from mishards.core.ids import Epoch, LogId, MetadataVersion
from mishards.core.runtime import Runtime
from mishards.metadata.protocol import Changes
from mishards.metadata.sql_errors import metadata_error
from mishards.metadata.sql_schema import ROW, SCHEMA_VERSION, prepare
from mishards.metadata.sql_schema import epochs as _epochs
from mishards.metadata.sql_schema import records as _records
from mishards.metadata.sql_schema import state as _state
from mishards.storage.sql_engine import (
    BUSY_TIMEOUT_S,
    open_engine,
    read_transaction,
    schema_transaction,
    write_transaction,
)

_KEYS_AT_ONCE = 500
"""Keys that one statement names: databases limit their number."""

T = TypeVar("T")


class SqlMetadataStore:
    """A `MetadataStore`; each call is one transaction, and one hop off the loop."""

    def __init__(self, url: str, runtime: Runtime, *, lock_wait_s: float = BUSY_TIMEOUT_S) -> None:
        """Connects at the first call.

        Args:
            url: of SQLAlchemy, for example `sqlite:////folder/file`.
            lock_wait_s: how long to wait for another process's lock.

        Raises:
            ConfigError, PluginError: the URL cannot be used.
        """
        self._runtime = runtime
        self._engine = open_engine(url, lock_wait_s=lock_wait_s)
        self._name = self._engine.url.render_as_string(hide_password=True)

    async def open(self, cluster_id: str) -> str:
        return await self._runtime.blocking(self._open, cluster_id)

    async def version(self) -> MetadataVersion:
        return await self._call(read_transaction, _version)

    async def changes(self, since: MetadataVersion) -> Changes:
        return await self._call(read_transaction, _changes, since)

    async def begin_epoch(self, log_id: LogId, epoch: Epoch) -> None:
        await self._call(write_transaction, _begin_epoch, log_id, epoch)

    async def epoch(self, log_id: LogId) -> Epoch:
        return await self._call(read_transaction, _epoch, log_id)

    async def commit(
        self,
        log_id: LogId,
        epoch: Epoch,
        expected: MetadataVersion,
        puts: dict[str, bytes],
        deletes: tuple[str, ...] = (),
    ) -> Changes:
        return await self._call(write_transaction, _commit, log_id, epoch, expected, puts, deletes)

    async def restore(self, changes: Changes, epochs: Mapping[LogId, Epoch]) -> None:
        await self._call(write_transaction, _restore, changes, epochs)

    async def prune(self, before: MetadataVersion) -> None:
        await self._call(write_transaction, _prune, before)

    async def close(self) -> None:
        await self._runtime.blocking(self._engine.dispose)

    async def _call(self, transaction: Any, work: Callable[..., T], *args: Any) -> T:
        return await self._runtime.blocking(self._run, transaction, work, *args)

    def _run(self, transaction: Any, work: Callable[..., T], *args: Any) -> T:
        try:
            with transaction(self._engine) as connection:
                return work(connection, *args)
        except sa.exc.SQLAlchemyError as error:
            raise metadata_error(self._name, error) from error

    def _open(self, cluster_id: str) -> str:
        try:
            with schema_transaction(self._engine) as connection:
                return _open(connection, cluster_id, self._name)
        except sa.exc.SQLAlchemyError as error:
            raise metadata_error(self._name, error) from error


def _open(connection: Connection, cluster_id: str, name: str) -> str:
    prepare(connection, name)
    found = connection.execute(
        sa.select(_state.c.cluster_id).with_for_update()
    ).scalar_one_or_none()
    if found is None:
        connection.execute(
            _state.insert().values(
                id=ROW, cluster_id=cluster_id, version=0, schema_version=SCHEMA_VERSION, pruned=0
            )
        )
        return cluster_id
    if not found and cluster_id:
        connection.execute(_state.update().values(cluster_id=cluster_id))
        return cluster_id
    if cluster_id not in ("", found):
        raise DataInUse(
            f"the metadata database {name} belongs to cluster {found!r}, not {cluster_id!r}"
        )
    return str(found)


def _version(connection: Connection) -> MetadataVersion:
    return MetadataVersion(connection.execute(sa.select(_state.c.version)).scalar_one())


def _locked_version(connection: Connection) -> MetadataVersion:
    """The version, which nobody else changes until this transaction ends."""
    query = sa.select(_state.c.version).with_for_update()
    return MetadataVersion(connection.execute(query).scalar_one())


def _epoch(connection: Connection, log_id: LogId) -> Epoch:
    query = sa.select(_epochs.c.epoch).where(_epochs.c.log_id == log_id)
    return Epoch(connection.execute(query).scalar_one_or_none() or 0)


def _changes(connection: Connection, since: MetadataVersion) -> Changes:
    version, pruned = connection.execute(sa.select(_state.c.version, _state.c.pruned)).one()
    if since < pruned:
        since = MetadataVersion(0)
    query = (
        sa.select(_records.c.record_key, _records.c.body)
        .where(_records.c.version > since)
        .order_by(_records.c.version)
    )
    if not since:
        query = query.where(_records.c.body.is_not(None))
    puts: list[tuple[str, bytes]] = []
    deletes: list[str] = []
    for key, body in connection.execute(query):
        if body is None:
            deletes.append(key)
        else:
            puts.append((key, body))
    return Changes(since, MetadataVersion(version), tuple(puts), tuple(deletes))


def _begin_epoch(connection: Connection, log_id: LogId, epoch: Epoch) -> None:
    _locked_version(connection)
    newest = _epoch(connection, log_id)
    if epoch <= newest:
        raise MetadataConflict(f"epoch {epoch} of log {log_id} is not after epoch {newest}")
    if newest:
        connection.execute(_epochs.update().where(_epochs.c.log_id == log_id).values(epoch=epoch))
    else:
        connection.execute(_epochs.insert().values(log_id=log_id, epoch=epoch))


def _commit(
    connection: Connection,
    log_id: LogId,
    epoch: Epoch,
    expected: MetadataVersion,
    puts: dict[str, bytes],
    deletes: tuple[str, ...],
) -> Changes:
    version = _locked_version(connection)
    newest = _epoch(connection, log_id)
    if epoch != newest:
        raise MetadataConflict(f"epoch {epoch} of log {log_id} is over: {newest} reigns")
    if expected != version:
        raise MetadataConflict(f"metadata is at version {version}, not {expected}")
    version = MetadataVersion(expected + 1)
    _write(connection, version, {**dict.fromkeys(deletes), **puts})
    return Changes(expected, version, tuple(puts.items()), deletes)


def _restore(connection: Connection, changes: Changes, epochs: Mapping[LogId, Epoch]) -> None:
    version = _locked_version(connection)
    if changes.version <= version:
        raise MetadataConflict(
            f"metadata is at version {version}; {changes.version} is not beyond it"
        )
    for log_id, epoch in epochs.items():
        if epoch > _epoch(connection, log_id):
            _begin_epoch(connection, log_id, epoch)
    gone = connection.execute(sa.select(_records.c.record_key)).scalars()
    _write(connection, changes.version, {**dict.fromkeys(gone), **dict(changes.puts)})


def _write(
    connection: Connection, version: MetadataVersion, changed: Mapping[str, bytes | None]
) -> None:
    """Give records their bodies, None for a deleted one, and the store its version."""
    if changed:
        keys = list(changed)
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            some = keys[start : start + _KEYS_AT_ONCE]
            connection.execute(_records.delete().where(_records.c.record_key.in_(some)))
        connection.execute(
            _records.insert(),
            [
                {"record_key": key, "version": version, "body": body}
                for key, body in changed.items()
            ],
        )
    connection.execute(_state.update().values(version=version))


def _prune(connection: Connection, before: MetadataVersion) -> None:
    before = min(before, _locked_version(connection))
    connection.execute(
        _records.delete().where(_records.c.version <= before, _records.c.body.is_(None))
    )
    connection.execute(_state.update().where(_state.c.pruned < before).values(pruned=before))
