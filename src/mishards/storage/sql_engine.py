"""Opens SQL databases: the one place that knows how a connection is to be set up.

Invariant: on SQLite a transaction is begun explicitly (`BEGIN`, or `BEGIN IMMEDIATE` through
`write_transaction`), a commit is on disk when it returns (`synchronous=FULL`), and readers do not
block the writer (WAL).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from mishards.core.errors import ConfigError, PluginError

BUSY_TIMEOUT_S = 5.0


def open_engine(url: str, *, lock_wait_s: float = BUSY_TIMEOUT_S) -> Engine:
    """An engine for `url`; it connects at the first use. The caller disposes of it.

    The folder of a SQLite file is created. Any thread may use the engine.

    Args:
        url: of SQLAlchemy; a SQLite one has to name a file.
        lock_wait_s: how long SQLite waits for another process's lock before it gives up.

    Raises:
        ConfigError: the URL cannot be parsed, or its folder cannot be created; names it.
        PluginError: no driver for it is installed.
    """
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            return _open_sqlite(parsed, lock_wait_s)
        return sa.create_engine(parsed, pool_pre_ping=True, pool_recycle=300)
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise PluginError(f"no driver for the database URL {str(parsed)!r}: {error}") from error
    except ArgumentError as error:
        raise ConfigError(f"invalid database URL {url!r}: {error}") from error


@contextmanager
def read_transaction(engine: Engine) -> Iterator[Connection]:
    """A transaction whose reads all see the same state."""
    with engine.connect() as connection:
        if engine.dialect.name != "sqlite":
            connection = connection.execution_options(isolation_level="REPEATABLE READ")
        with connection.begin():
            yield connection


@contextmanager
def write_transaction(engine: Engine) -> Iterator[Connection]:
    """A transaction that will write: on SQLite it takes the write lock at once, so that what it
    reads cannot change before it commits. Rolled back when the body raises."""
    with engine.connect() as connection:
        connection = connection.execution_options(mishards_write=True)
        with connection.begin():
            yield connection


def _open_sqlite(url: URL, lock_wait_s: float) -> Engine:
    if url.database in (None, "", ":memory:"):
        raise ConfigError(
            f"invalid database URL {url!s}: name a file, as in sqlite:////folder/file"
        )
    folder = Path(str(url.database)).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot create the folder of {url!s}: {error.strerror}") from error
    engine = sa.create_engine(url, connect_args={"timeout": lock_wait_s})
    sa.event.listen(engine, "connect", _set_pragmas)
    sa.event.listen(engine, "begin", _begin)
    return engine


def _set_pragmas(connection: sqlite3.Connection, _record: object) -> None:
    # The driver's own transaction control begins too late for a consistent read.
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


def _begin(connection: Connection) -> None:
    write = connection.get_execution_options().get("mishards_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
