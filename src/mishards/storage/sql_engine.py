"""Opens SQL databases: the one place that knows how a connection is to be set up.

Invariants: what a read transaction sees is one state; a write transaction that has locked a row
reads the newest committed state after that. On SQLite a transaction is begun explicitly (`BEGIN`,
or `BEGIN IMMEDIATE` through `write_transaction`), a commit is on disk when it returns
(`synchronous=FULL`), readers do not block the writer (WAL), and a file that was replaced is noticed
(`storage.sql_file`). On a server every wait ends, see `storage.sql_servers`.
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
from mishards.core.secret import redact
from mishards.storage.sql_file import FileWatch
from mishards.storage.sql_servers import ANSWER_S, open_server, with_driver

BUSY_TIMEOUT_S = 5.0
_MOST_SWITCHES = 20


def open_engine(
    url: str, *, lock_wait_s: float = BUSY_TIMEOUT_S, answer_s: float = ANSWER_S
) -> Engine:
    """An engine for `url`; it connects at the first use. The caller disposes of it.

    The folder of a SQLite file is created. Any thread may use the engine.

    Args:
        url: of SQLAlchemy; a SQLite one has to name a file. `mysql://` and `mariadb://` use
            PyMySQL, `postgresql://` psycopg, unless it names another driver.
        lock_wait_s: how long to wait for another's lock before giving up.
        answer_s: how long a server may say nothing before it counts as gone.

    Raises:
        ConfigError: the URL cannot be parsed, or its folder cannot be created; names it.
        PluginError: no driver for it is installed.
    """
    try:
        parsed = with_driver(make_url(url))
        if parsed.get_backend_name() == "sqlite":
            return _open_sqlite(parsed, lock_wait_s)
        return open_server(parsed, lock_wait_s, answer_s)
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise PluginError(
            f"no driver for the database URL {redact(str(parsed))!r}: {error}; "
            f"try: pip install 'mishards[{parsed.get_backend_name()}]'"
        ) from error
    except (ArgumentError, ValueError) as error:
        raise ConfigError(f"invalid database URL {redact(url)!r}: {redact(str(error))}") from error


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
    """A transaction that will write; rolled back when the body raises.

    On SQLite it takes the write lock at once, so that what it reads cannot change before it
    commits. On a server each statement sees what was committed before it: lock a row first.
    """
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection = connection.execution_options(mishards_write=True)
        else:
            connection = connection.execution_options(isolation_level="READ COMMITTED")
        with connection.begin():
            yield connection


@contextmanager
def schema_transaction(engine: Engine) -> Iterator[Connection]:
    """A write transaction that no other schema transaction on the database runs beside.

    MariaDB and MySQL commit at each change of a table: what is done in it there has to be fine
    to do again.
    """
    with write_transaction(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_SCHEMA_LOCK)))
        if engine.dialect.name != "mysql":
            yield connection
            return
        name = sa.func.concat("mishards.", sa.func.md5(sa.func.database()))
        if not connection.execute(sa.select(sa.func.get_lock(name, _SCHEMA_WAIT_S))).scalar():
            raise sa.exc.OperationalError(
                "GET_LOCK", {}, TimeoutError("another process changes the tables")
            )
        try:
            yield connection
        finally:
            if not connection.invalidated:
                connection.execute(sa.select(sa.func.release_lock(name)))


_SCHEMA_LOCK = 0x6D697368
"""Number of the advisory lock in PostgreSQL: of this project, whatever the schema."""
_SCHEMA_WAIT_S = 4


def _open_sqlite(url: URL, lock_wait_s: float) -> Engine:
    if url.database in (None, "", ":memory:"):
        raise ConfigError(
            f"invalid database URL {redact(str(url))}: name a file, as in sqlite:////folder/file"
        )
    folder = Path(str(url.database)).parent
    shown = redact(str(url))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot create the folder of {shown}: {error.strerror}") from error
    engine = sa.create_engine(url, connect_args={"timeout": lock_wait_s})
    sa.event.listen(engine, "connect", _set_pragmas)
    sa.event.listen(engine, "begin", _begin)
    FileWatch(engine)
    return engine


def _set_pragmas(connection: sqlite3.Connection, _record: object) -> None:
    # The driver's own transaction control begins too late for a consistent read.
    connection.isolation_level = None
    _use_wal(connection)
    connection.execute("PRAGMA synchronous=FULL")


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL; on a new file others may be at the same, and SQLite then gives up at once
    instead of waiting as for other locks. So the wait is for a lock of the usual kind."""
    for _ in range(_MOST_SWITCHES):
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("COMMIT")
        else:
            return
    connection.execute("PRAGMA journal_mode=WAL")


def _begin(connection: Connection) -> None:
    write = connection.get_execution_options().get("mishards_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
