"""Turns a database's errors into the project's."""

from __future__ import annotations

import sqlite3

import sqlalchemy as sa

from mishards.core.errors import CorruptObject, DiskFull, MetadataUnavailable, SystemFault

_FULL = {sqlite3.SQLITE_FULL}
_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def metadata_error(name: str, error: sa.exc.SQLAlchemyError) -> SystemFault:
    """The error to raise for what the database called `name` raised.

    `MetadataUnavailable`, which is retriable, unless the database says that its file is damaged
    (`CorruptObject`) or its disk is full (`DiskFull`).
    """
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) else None
    code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
    if code in _CORRUPT:
        return CorruptObject(f"the metadata database {name} is damaged: {cause}")
    if code in _FULL:
        return DiskFull(f"no space left for the metadata database {name}")
    if code in _LOCKED:
        return MetadataUnavailable(f"the metadata database {name} is locked by another process")
    return MetadataUnavailable(f"the metadata database {name} cannot be used: {cause or error}")
