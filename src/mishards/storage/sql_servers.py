"""Connections to MariaDB, MySQL and PostgreSQL that never wait for ever.

Invariants, with the drivers chosen here (PyMySQL, psycopg): a server that says nothing for
`answer_s`, whether it is down, frozen or cut off, ends the call with an error and its connection
with it; a lock of somebody else is waited for no longer than that; a transaction that its client
left open, because it froze or is cut off, is rolled back by the server after `IDLE_S`. A
connection is tried before it is used, so one that broke meanwhile is replaced unseen; the trial
waits for `TRIAL_S` only, since another wait follows it where the server does not answer at all.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, Engine

ANSWER_S = 5.0
CONNECT_S = 3.0
TRIAL_S = 2.0
IDLE_S = 10
"""How long the server keeps a connection, and the locks of its transaction, that does nothing."""

_PATIENCE = {"pymysql": "_read_timeout", "psycopg": "patience_s"}
"""Where a driver's connection has the seconds for which it waits."""
_DRIVERS = {"mysql": "pymysql", "mariadb": "pymysql", "postgresql": "psycopg"}


def with_driver(url: URL) -> URL:
    """The URL with the driver to use where it names none; `mariadb` becomes `mysql`, whose
    dialect finds out by itself which of the two answers."""
    backend, _, driver = url.drivername.partition("+")
    driver = driver or _DRIVERS.get(backend, "")
    backend = "mysql" if backend == "mariadb" else backend
    return url.set(drivername=f"{backend}+{driver}" if driver else backend)


def open_server(url: URL, lock_wait_s: float, answer_s: float) -> Engine:
    """An engine for a database server; see `storage.sql_engine.open_engine`."""
    lock_wait_s = max(1.0, min(lock_wait_s, answer_s - 1))
    engine = sa.create_engine(
        url,
        connect_args=_arguments(url, lock_wait_s, answer_s),
        pool_pre_ping=True,
        pool_timeout=answer_s,
        pool_recycle=300,
    )
    if engine.dialect.driver == "psycopg":
        from mishards.storage.sql_psycopg import bounded

        connection_class = bounded(answer_s)

        def connect(_dialect: Any, _record: Any, positional: Any, named: Any) -> Any:
            return connection_class.connect(*positional, **named)

        sa.event.listen(engine, "do_connect", connect)
    _try_briefly(engine)
    return engine


def _try_briefly(engine: Engine) -> None:
    """Let the trial of a connection wait for `TRIAL_S`."""
    name = _PATIENCE.get(engine.dialect.driver)
    if name is None:
        return
    ping = engine.dialect.do_ping

    def do_ping(connection: Any) -> bool:
        usual_s = getattr(connection, name)
        setattr(connection, name, TRIAL_S)
        try:
            return ping(connection)
        finally:
            setattr(connection, name, usual_s)

    engine.dialect.do_ping = do_ping  # type: ignore[assignment]


def _arguments(url: URL, lock_wait_s: float, answer_s: float) -> dict[str, Any]:
    """What the driver is told when it connects."""
    driver = url.get_driver_name()
    if driver == "pymysql":
        return {
            "connect_timeout": CONNECT_S,
            "read_timeout": answer_s,
            "write_timeout": answer_s,
            "charset": "utf8mb4",
            "init_command": (
                f"SET SESSION innodb_lock_wait_timeout = {int(lock_wait_s)}, "
                f"SESSION wait_timeout = {IDLE_S}"
            ),
        }
    if driver == "psycopg":
        idle_ms, lock_ms = IDLE_S * 1000, int(lock_wait_s * 1000)
        return {
            "connect_timeout": int(CONNECT_S),
            "options": (
                f"-c idle_in_transaction_session_timeout={idle_ms} -c lock_timeout={lock_ms}"
            ),
        }
    return {}
