"""Keeps an engine to the SQLite file that has the name now.

SQLite goes on with a file that was removed or replaced, which nobody else sees, or makes an empty
one in its place. Invariants: a connection is used only while its file has the name; a file that
was there once is never made anew.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DisconnectionError

_FILE = "mishards_file"


class FileWatch:
    """Compares the file of each connection of one engine with the one that has the name."""

    def __init__(self, engine: Engine) -> None:
        """Begins to do so."""
        self._path = Path(str(engine.url.database))
        self._seen = False
        sa.event.listen(engine, "do_connect", self._before_connecting)
        sa.event.listen(engine, "connect", self._connected)
        sa.event.listen(engine, "checkout", self._checked_out)

    def _before_connecting(self, *_: Any) -> None:
        if self._seen and not self._path.exists():
            raise sqlite3.OperationalError(f"{self._path.name} is gone")

    def _connected(self, connection: sqlite3.Connection, record: Any) -> None:
        # The file is there once something was read from it, by the pragmas at the latest.
        record.info[_FILE] = _identity(self._path)
        self._seen = True

    def _checked_out(self, _connection: Any, record: Any, _proxy: Any) -> None:
        if record.info.get(_FILE) != _identity(self._path):
            raise DisconnectionError(f"{self._path.name} was removed or replaced")


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a file from another of the same name; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
