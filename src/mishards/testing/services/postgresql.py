"""A PostgreSQL server for tests."""

from __future__ import annotations

import signal
from collections.abc import Sequence

import psycopg

from mishards.testing.services.server import Server, lacking, program

_FOLDERS = "/usr/lib/postgresql/*/bin"


class PostgreSql(Server):
    """See `Server`; `database` gives an empty database."""

    name = "PostgreSQL"
    account = "postgres"
    stop_signal = signal.SIGINT  # the fast shutdown: does not wait for clients to leave

    @classmethod
    def missing(cls) -> str:
        return lacking(cls.name, program("postgres", _FOLDERS), program("initdb", _FOLDERS))

    def prepare(self) -> None:
        self.run(
            str(program("initdb", _FOLDERS)),
            f"--pgdata={self.folder / 'data'}",
            "--username=mishards",
            "--auth=trust",
            "--encoding=UTF8",
            "--no-sync",
        )

    def command(self) -> Sequence[str]:
        settings = ("fsync=off", "shared_buffers=32MB", "listen_addresses=127.0.0.1")
        return (
            str(program("postgres", _FOLDERS)),
            *("-D", str(self.folder / "data")),
            *("-p", str(self.port)),
            *("-k", str(self.folder)),
            *(word for setting in settings for word in ("-c", setting)),
        )

    def answers(self) -> bool:
        try:
            self._connection().close()
        except psycopg.OperationalError:
            return False
        return True

    def database(self, name: str) -> str:
        """The URL of a new, empty database of that name."""
        with self._connection() as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql+psycopg://mishards@127.0.0.1:{self.port}/{name}"

    def _connection(self) -> psycopg.Connection:
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user="mishards",
            dbname="postgres",
            autocommit=True,
            connect_timeout=5,
        )
