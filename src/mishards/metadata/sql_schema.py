"""The tables of the SQL metadata store, and how a database comes to have them.

Invariant: after `prepare` the database has the tables of `SCHEMA_VERSION`, or it is as it was.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mishards.core.errors import DataInUse
from mishards.metadata.migrations import STEPS
from mishards.storage.sql_types import TABLE_OPTIONS, ExactString

SCHEMA_VERSION = 2
ROW = 1
"""Id of the one row of `mishards_state`."""

tables = sa.MetaData()
state = sa.Table(
    "mishards_state",
    tables,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("cluster_id", sa.String(255), nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("schema_version", sa.Integer, nullable=False),
    # Keys that were deleted up to this version are forgotten.
    sa.Column("pruned", sa.BigInteger, nullable=False, server_default="0"),
    **TABLE_OPTIONS,
)
records = sa.Table(
    "mishards_records",
    tables,
    sa.Column("record_key", ExactString(255), primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False, index=True),
    # The length makes MariaDB choose a type that holds it; others have but one.
    sa.Column("body", sa.LargeBinary(2**32 - 1)),
    **TABLE_OPTIONS,
)
epochs = sa.Table(
    "mishards_epochs",
    tables,
    sa.Column("log_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    **TABLE_OPTIONS,
)


def prepare(connection: Connection, name: str) -> None:
    """Create the tables, or bring those of an older release up to date.

    Call it in a `schema_transaction`.

    Raises:
        DataInUse: the database called `name` belongs to a newer release.
    """
    if not sa.inspect(connection).has_table(state.name):
        tables.create_all(connection)
        return
    found = connection.execute(sa.select(state.c.schema_version)).scalar_one_or_none()
    if found is None:  # the first to open it died in between
        tables.create_all(connection)
        return
    if found > SCHEMA_VERSION:
        raise DataInUse(
            f"the metadata database {name} has schema version {found} of a newer release; "
            f"this one knows versions up to {SCHEMA_VERSION}"
        )
    for version in range(found, SCHEMA_VERSION):
        STEPS[version](connection)
        connection.execute(state.update().values(schema_version=version + 1))
