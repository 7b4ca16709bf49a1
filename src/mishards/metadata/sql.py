"""Metadata in an SQL database: SQLite, or a server that several machines reach.

Invariants: a commit is one transaction that holds the one row of `mishards_state` locked, so
commits follow one another, and each sees the version and the epoch it checks; deleted records stay
as rows without a body, so that the changes since any version can be told.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mishards.core.errors import DataInUse, MetadataConflict, MetadataUnavailable
from mishards.core.ids import Epoch, LogId, MetadataVersion
from mishards.core.runtime import Runtime
from mishards.metadata.protocol import Changes
from mishards.metadata.sql_errors import metadata_error
from mishards.storage.sql_engine import (
    BUSY_TIMEOUT_S,
    open_engine,
    read_transaction,
    write_transaction,
)

SCHEMA_VERSION = 1

T = TypeVar("T")

_tables = sa.MetaData()
_state = sa.Table(
    "mishards_state",
    _tables,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("cluster_id", sa.String(255), nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("schema_version", sa.Integer, nullable=False),
)
_records = sa.Table(
    "mishards_records",
    _tables,
    sa.Column("record_key", sa.String(255), primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False, index=True),
    # The length makes MariaDB choose a type that holds it; others have but one.
    sa.Column("body", sa.LargeBinary(2**32 - 1)),
)
_epochs = sa.Table(
    "mishards_epochs",
    _tables,
    sa.Column("log_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
)
_ROW = 1
"""Id of the one row of `mishards_state`."""


class SqlMetadataStore:
    """A `MetadataStore`; each call is one transaction, and one hop off the loop."""

    def __init__(self, url: str, runtime: Runtime, *, lock_wait_s: float = BUSY_TIMEOUT_S) -> None:
        """Connects at the first call.

        Args:
            url: of SQLAlchemy, for example `sqlite:////folder/file`.
            lock_wait_s: how long to wait for another process's lock on a SQLite file.

        Raises:
            ConfigError, PluginError: the URL cannot be used.
        """
        self._runtime = runtime
        self._engine = open_engine(url, lock_wait_s=lock_wait_s)
        self._name = self._engine.url.render_as_string(hide_password=True)
        sqlite = self._engine.url.get_backend_name() == "sqlite"
        self._file = Path(str(self._engine.url.database)) if sqlite else None
        self._file_id: tuple[int, int] | None = None

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

    async def close(self) -> None:
        await self._runtime.blocking(self._engine.dispose)

    async def _call(self, transaction: Any, work: Callable[..., T], *args: Any) -> T:
        return await self._runtime.blocking(self._run, transaction, work, *args)

    def _run(self, transaction: Any, work: Callable[..., T], *args: Any) -> T:
        try:
            self._check_file()
            with transaction(self._engine) as connection:
                return work(connection, *args)
        except sa.exc.SQLAlchemyError as error:
            raise metadata_error(self._name, error) from error

    def _open(self, cluster_id: str) -> str:
        try:
            with write_transaction(self._engine) as connection:
                found = _open(connection, cluster_id, self._name)
        except sa.exc.SQLAlchemyError as error:
            raise metadata_error(self._name, error) from error
        if self._file is not None:
            self._file_id = _file_id(self._file)
        return found

    def _check_file(self) -> None:
        """Notice that the file was removed or replaced: SQLite would go on with the old one,
        which nobody else sees, or make an empty one."""
        if self._file is None or self._file_id is None:
            return
        try:
            found = _file_id(self._file)
        except OSError as error:
            raise MetadataUnavailable(
                f"the metadata database {self._name} cannot be reached: {error}"
            ) from error
        if found != self._file_id:
            self._engine.dispose()
            self._file_id = found


def _file_id(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _open(connection: Connection, cluster_id: str, name: str) -> str:
    _tables.create_all(connection)
    row = connection.execute(sa.select(_state).with_for_update()).one_or_none()
    if row is None:
        connection.execute(
            _state.insert().values(
                id=_ROW, cluster_id=cluster_id, version=0, schema_version=SCHEMA_VERSION
            )
        )
        return cluster_id
    if row.schema_version != SCHEMA_VERSION:
        raise DataInUse(
            f"the metadata database {name} has schema version {row.schema_version}; "
            f"this release uses {SCHEMA_VERSION}"
        )
    if not row.cluster_id and cluster_id:
        connection.execute(_state.update().values(cluster_id=cluster_id))
        return cluster_id
    if cluster_id not in ("", row.cluster_id):
        raise DataInUse(
            f"the metadata database {name} belongs to cluster {row.cluster_id!r}, "
            f"not {cluster_id!r}"
        )
    return str(row.cluster_id)


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
    version = _version(connection)
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
    return Changes(since, version, tuple(puts), tuple(deletes))


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
    changed: dict[str, bytes | None] = {**dict.fromkeys(deletes), **puts}
    if changed:
        old = _records.delete().where(_records.c.record_key == sa.bindparam("key"))
        connection.execute(old, [{"key": key} for key in changed])
        connection.execute(
            _records.insert(),
            [
                {"record_key": key, "version": version, "body": body}
                for key, body in changed.items()
            ],
        )
    connection.execute(_state.update().values(version=version))
    return Changes(expected, version, tuple(puts.items()), deletes)
