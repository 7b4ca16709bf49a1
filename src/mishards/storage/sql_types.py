"""Columns and tables that mean the same on every database."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

TABLE_OPTIONS: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4"}
"""For every table: what differs between databases is said, whatever the server's defaults."""

_UTF8_BYTES = 4


class ExactString(TypeDecorator[str]):
    """A string of which no two that differ are equal.

    MariaDB and MySQL compare text without regard to case, accents or blanks at the end, whatever
    the database's own setting: there it is kept as bytes.
    """

    impl = sa.String
    cache_ok = True

    def __init__(self, length: int) -> None:
        """`length` is in characters."""
        super().__init__(length)
        self._length = length

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "mysql":
            return dialect.type_descriptor(mysql.VARBINARY(self._length * _UTF8_BYTES))
        return dialect.type_descriptor(sa.String(self._length))

    def process_bind_param(self, value: str | None, dialect: Dialect) -> Any:
        return value.encode() if value is not None and dialect.name == "mysql" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:
        return value.decode() if isinstance(value, bytes | bytearray) else value
