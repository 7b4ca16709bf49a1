"""Leases in an SQL database, commonly the one of the metadata: a row per log.

Invariant: a row changes only by an update that names the beat and the holder it replaces, so of
concurrent swaps one takes effect. Rows are never removed: a beat is never given twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from mishards.core.errors import LeaseTaken, Unavailable
from mishards.core.ids import LogId, NodeId
from mishards.core.runtime import Runtime
from mishards.discovery.election import NOBODY, Lease, next_lease
from mishards.storage.sql_engine import (
    open_engine,
    read_transaction,
    schema_transaction,
    write_transaction,
)
from mishards.storage.sql_types import TABLE_OPTIONS, ExactString

T = TypeVar("T")

_LOCK_WAIT_S = 1.0
_ANSWER_S = 2.0

_schema = sa.MetaData()
_leases = sa.Table(
    "mishards_leases",
    _schema,
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
        self._engine = open_engine(url, lock_wait_s=_LOCK_WAIT_S, answer_s=_ANSWER_S)
        self._runtime = runtime
        self._created = False

    async def look(self, log_id: LogId) -> Lease:
        return await self._do(self._look, log_id)

    async def swap(self, seen: Lease, holder: NodeId, heir: NodeId = NOBODY) -> Lease:
        lease = next_lease(seen, holder, heir)
        if not await self._do(self._swap, seen, lease):
            raise LeaseTaken(
                f"the lease of log {seen.log_id} is no longer that of {seen.holder!r} "
                f"at beat {seen.beat}"
            )
        return lease

    async def close(self) -> None:
        await self._runtime.blocking(self._engine.dispose)

    async def _do(self, work: Callable[..., T], *args: object) -> T:
        try:
            return await self._runtime.blocking(self._prepared, work, args)
        except SQLAlchemyError as error:
            shown = self._engine.url.render_as_string(hide_password=True)
            cause = getattr(error, "orig", None) or error
            raise Unavailable(f"the election in {shown} cannot be used: {cause}") from error

    # --- off the loop -----------------------------------------------------------------------

    def _prepared(self, work: Callable[..., T], args: tuple[object, ...]) -> T:
        if not self._created:
            if not sa.inspect(self._engine).has_table(_leases.name):
                with schema_transaction(self._engine) as connection:
                    _schema.create_all(connection)
            self._created = True
        return work(*args)

    def _look(self, log_id: LogId) -> Lease:
        columns = (_leases.c.holder, _leases.c.heir, _leases.c.beat)
        query = sa.select(*columns).where(_leases.c.log_id == log_id)
        with read_transaction(self._engine) as connection:
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
            with write_transaction(self._engine) as connection:
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
