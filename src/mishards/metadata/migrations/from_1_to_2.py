"""Schema version 2: deleted keys can be forgotten, and keys that differ in case are two keys.

`mishards_state.pruned` says up to which version deleted keys are forgotten. On MariaDB and MySQL
record keys become bytes, which version 1 compared without regard to case.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection


def migrate(connection: Connection) -> None:
    """Bring the tables of version 1 to version 2."""
    columns = {column["name"] for column in sa.inspect(connection).get_columns("mishards_state")}
    if "pruned" not in columns:
        connection.exec_driver_sql(
            "ALTER TABLE mishards_state ADD COLUMN pruned BIGINT NOT NULL DEFAULT 0"
        )
    if connection.dialect.name == "mysql":
        connection.exec_driver_sql(
            "ALTER TABLE mishards_records MODIFY record_key VARBINARY(1020) NOT NULL"
        )
