"""A MariaDB server for tests."""

from __future__ import annotations

from collections.abc import Sequence

import pymysql

from mishards.testing.services.server import Server, lacking, program

_USER, _PASSWORD = "mishards", "a-password"


class MariaDb(Server):
    """See `Server`; `database` gives an empty database."""

    name = "MariaDB"
    account = "mysql"

    @classmethod
    def missing(cls) -> str:
        return lacking(cls.name, program("mariadbd"), program("mariadb-install-db"))

    def prepare(self) -> None:
        self.run(
            str(program("mariadb-install-db")),
            "--no-defaults",
            f"--datadir={self.folder / 'data'}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        )

    def command(self) -> Sequence[str]:
        return (
            str(program("mariadbd")),
            "--no-defaults",
            f"--datadir={self.folder / 'data'}",
            f"--socket={self.folder / 'm.sock'}",
            f"--pid-file={self.folder / 'm.pid'}",
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            "--innodb-buffer-pool-size=32M",
        )

    def answers(self) -> bool:
        try:
            self._connection().close()
        except pymysql.err.OperationalError:
            return False
        return True

    def created(self) -> None:
        with self._connection() as connection:
            connection.cursor().execute(f"CREATE USER {_USER}@'%' IDENTIFIED BY '{_PASSWORD}'")

    def database(self, name: str) -> str:
        """The URL of a new, empty database of that name."""
        with self._connection() as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name}")
            cursor.execute(f"GRANT ALL ON {name}.* TO {_USER}@'%'")
        return f"mysql+pymysql://{_USER}:{_PASSWORD}@127.0.0.1:{self.port}/{name}"

    def _connection(self) -> pymysql.Connection[pymysql.cursors.Cursor]:
        return pymysql.connect(
            host="127.0.0.1", port=self.port, user="root", autocommit=True, connect_timeout=5
        )
