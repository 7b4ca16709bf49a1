"""Leases in an SQL database, commonly the one of the metadata: a row per log.

Invariant: a row changes only by an update that names the beat and the holder it replaces, so of
concurrent swaps one takes effect. Rows are never removed: a beat is never given twice.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from mishards.core.ids import LogId, NodeId
from mishards.core.runtime import Runtime
from mishards.discovery.election import NOBODY, Lease, next_lease, no_longer_held
from mishards.discovery.sql_access import SqlAccess
from mishards.storage.sql_engine import read_transaction, write_transaction
from mishards.storage.sql_types import TABLE_OPTIONS, ExactString

_leases = sa.Table(
    "mishards_leases",
    sa.MetaData(),
    sa.Column("log_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("holder", ExactString(255), nullable=False),
    sa.Column("heir", ExactString(255), nullable=False),
    sa.Column("beat", sa.BigInteger, nullable=False),
    **TABLE_OPTIONS,
)


class SqlElection:
    """An `Election` over SQLAlchemy; statements run off the loop."""

    def __init__(self, url: str, runtime: Runtime) -> None:
        """Raises `ConfigError` or `PluginError` when the URL cannot be used."""
        self._database = SqlAccess(url, runtime, _leases, "the election")

    async def look(self, log_id: LogId) -> Lease:
        return await self._database.do(self._look, log_id)

    async def swap(self, seen: Lease, holder: NodeId, heir: NodeId = NOBODY) -> Lease:
        lease = next_lease(seen, holder, heir)
        if not await self._database.do(self._swap, seen, lease):
            raise no_longer_held(seen)
        return lease

    async def close(self) -> None:
        await self._database.close()

    # --- off the loop -----------------------------------------------------------------------

    def _look(self, log_id: LogId) -> Lease:
        columns = (_leases.c.holder, _leases.c.heir, _leases.c.beat)
        query = sa.select(*columns).where(_leases.c.log_id == log_id)
        with read_transaction(self._database.engine) as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return Lease(log_id=log_id)
        return Lease(log_id=log_id, holder=NodeId(row.holder), heir=NodeId(row.heir), beat=row.beat)

    def _swap(self, seen: Lease, lease: Lease) -> bool:
        values = {"holder": lease.holder, "heir": lease.heir, "beat": lease.beat}
        change = (
            sa.update(_leases)
            .where(
                _leases.c.log_id == seen.log_id,
                _leases.c.beat == seen.beat,
                _leases.c.holder == seen.holder,
            )
            .values(**values)
        )
        try:
            with write_transaction(self._database.engine) as connection:
                if connection.execute(change).rowcount:
                    return True
                if seen.beat:
                    return False
                connection.execute(sa.insert(_leases).values(log_id=lease.log_id, **values))
                return True
        except IntegrityError:  # inserted by somebody else between the two
            return False


def open_sql(runtime: Runtime, *, url: str) -> SqlElection:
    """The election in the database at `url`."""
    return SqlElection(url, runtime)
