"""A registry in an SQL database, commonly the one of the metadata: a row per node, with a beat.

Invariants: who is live is decided by each reader for itself, see `discovery.liveness`; rows that
stay silent for `FORGET_S` are removed, unless they changed meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from mishards.core.ids import NodeId
from mishards.core.runtime import Runtime
from mishards.discovery.entries import Entries
from mishards.discovery.liveness import Beat, Liveness
from mishards.discovery.protocol import NodeInfo
from mishards.discovery.sql_access import SqlAccess
from mishards.storage.sql_engine import read_transaction, write_transaction
from mishards.storage.sql_types import TABLE_OPTIONS, ExactString

FORGET_S = 600.0

_nodes = sa.Table(
    "mishards_nodes",
    sa.MetaData(),
    sa.Column("node_id", ExactString(255), primary_key=True),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("beat", sa.BigInteger, nullable=False),
    sa.Column("beat_ms", sa.BigInteger, nullable=False),
    **TABLE_OPTIONS,
)

_Row = tuple[str, str, int, int]


class SqlRegistry:
    """A `Registry` over SQLAlchemy; statements run off the loop."""

    def __init__(self, url: str, runtime: Runtime, *, ttl_s: float) -> None:
        """Raises `ConfigError` or `PluginError` when the URL cannot be used."""
        self._database = SqlAccess(url, runtime, _nodes, "the registry")
        self._runtime = runtime
        self._ttl_s = ttl_s
        self._liveness = Liveness(ttl_s)
        self._announced: set[NodeId] = set()
        self._written_s = 0.0
        self._entries = Entries()

    async def announce(self, node: NodeInfo) -> None:
        self._announced.add(node.id)
        body = msgspec.json.encode(node).decode()
        await self._database.do(self._renew, node.id, body, self._runtime.now_ms())
        self._written_s = self._runtime.monotonic_s()

    async def withdraw(self, node_id: NodeId) -> None:
        self._announced.discard(node_id)
        await self._database.do(self._remove, {node_id: None})

    async def nodes(self) -> tuple[NodeInfo, ...]:
        rows, live = await self._look()
        forgotten = self._liveness.silent_for(FORGET_S)
        if forgotten:
            await self._database.do(self._remove, forgotten)
        return self._decoded(row for row in rows if row[0] in live)

    async def silent(self) -> tuple[NodeInfo, ...]:
        """See `discovery.protocol.Remembering`; more exact the longer `nodes` has been asked."""
        rows, live = await self._look()
        return self._decoded(row for row in rows if row[0] not in live)

    async def _look(self) -> tuple[list[_Row], frozenset[NodeId]]:
        """All rows, and which nodes live."""
        rows = await self._database.do(self._read)
        now_s = self._runtime.monotonic_s()
        live = self._liveness.look(
            {NodeId(row[0]): (row[2], row[3]) for row in rows},
            monotonic_s=now_s,
            now_ms=self._runtime.now_ms(),
            writable=not self._announced or now_s - self._written_s < self._ttl_s / 2,
        )
        return rows, live

    def _decoded(self, rows: Iterable[_Row]) -> tuple[NodeInfo, ...]:
        found = [self._entries.decode(row[0], row[1]) for row in rows]
        return tuple(sorted(node for node in found if node is not None))

    async def close(self) -> None:
        await self._database.close()

    # --- off the loop -----------------------------------------------------------------------

    def _renew(self, node_id: str, body: str, now_ms: int) -> None:
        renewal = (
            sa.update(_nodes)
            .where(_nodes.c.node_id == node_id)
            .values(body=body, beat=_nodes.c.beat + 1, beat_ms=now_ms)
        )
        entry = sa.insert(_nodes).values(node_id=node_id, body=body, beat=1, beat_ms=now_ms)
        try:
            with write_transaction(self._database.engine) as connection:
                if not connection.execute(renewal).rowcount:
                    connection.execute(entry)
        except IntegrityError:  # inserted by somebody else between the two
            with write_transaction(self._database.engine) as connection:
                connection.execute(renewal)

    def _remove(self, nodes: dict[NodeId, Beat | None]) -> None:
        """Delete rows; those given with a beat only if it is still theirs."""
        with write_transaction(self._database.engine) as connection:
            for node_id, beat in nodes.items():
                removal = sa.delete(_nodes).where(_nodes.c.node_id == node_id)
                if beat is not None:
                    removal = removal.where(_nodes.c.beat == beat[0], _nodes.c.beat_ms == beat[1])
                connection.execute(removal)

    def _read(self) -> list[_Row]:
        columns = (_nodes.c.node_id, _nodes.c.body, _nodes.c.beat, _nodes.c.beat_ms)
        with read_transaction(self._database.engine) as connection:
            return [tuple(row) for row in connection.execute(sa.select(*columns))]


def open_sql(runtime: Runtime, *, url: str, nodes: Sequence[str], ttl_s: float) -> SqlRegistry:
    """The registry in the database at `url`."""
    return SqlRegistry(url, runtime, ttl_s=ttl_s)
