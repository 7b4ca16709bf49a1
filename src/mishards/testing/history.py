"""What clients of a cluster asked for and got, and when: the record that is checked.

Times are virtual in a simulation, and those of the wall clock where processes are real.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from mishards.metadata.models import ConsistencyLevel

Key = int | str

KEY_FIELD, GROUP_FIELD, STAMP_FIELD, VECTOR_FIELD = "key", "group", "stamp", "vector"


class Row(NamedTuple):
    """A row of the simulated collection. `stamp` is never used twice, so a row that comes back
    tells which write it is from."""

    key: Key
    group: int
    stamp: int
    vector: tuple[float, ...]


class Found(NamedTuple):
    """A row of an answer; `distance` is 0 where none was asked for."""

    key: Key
    group: int
    stamp: int
    distance: float = 0.0


class Condition(msgspec.Struct, frozen=True):
    """A filter that this record can evaluate by itself; empty parts restrict nothing."""

    groups: tuple[int, ...] = ()
    keys: tuple[Key, ...] = ()

    @property
    def text(self) -> str:
        """In the filter language."""
        if self.keys:
            return f"{KEY_FIELD} in {list(self.keys)}"
        if len(self.groups) == 1:
            return f"{GROUP_FIELD} == {self.groups[0]}"
        return f"{GROUP_FIELD} in {list(self.groups)}" if self.groups else f"{STAMP_FIELD} >= 0"

    def matches(self, row: Row) -> bool:
        return (not self.keys or row.key in self.keys) and (
            not self.groups or row.group in self.groups
        )


class Operation(msgspec.Struct, kw_only=True):
    """One call of a client, filled in as it goes.

    Attributes:
        kind: `insert`, `upsert`, `delete`, `query`, `count`, `search`, `flush`, `ddl`.
        outcome: `ok`; `refused`: the input is at fault, nothing was done; `failed`: an error, a
            write may have been applied nevertheless; `crashed`: something that no caller should
            ever see; `open`: it never ended.
        must_succeed: it was made when all was well.
        rows: written.
        condition: of reads and deletes; a delete by key has `keys`.
        timestamp: of the write; of a read, the state it says it shows.
        checkpoint: of a read: the state it shows is at least this new.
        keys: deleted, as answered.
        found: the rows of a query; the hits of a search, query after query as `counts` says.
        says_state: whether a read's answer says which state it shows; through a client library it
            does not, and may show any that the call could see.
        endpoint: where the call went, for clients with several to choose from.
        repeated: it failed, and the client did the same again in another call.
        unanswered: the connection ended before an answer came, and the client left it at that.
        stood_still: the process that was asked stood still meanwhile.
    """

    client: str
    kind: str
    timeout_s: float
    start_s: float
    end_s: float = 0.0
    outcome: str = "open"
    error: str = ""
    must_succeed: bool = False
    rows: tuple[Row, ...] = ()
    condition: Condition = Condition()
    level: ConsistencyLevel = ConsistencyLevel.STRONG
    guarantee_ts: int = 0
    queries: tuple[tuple[float, ...], ...] = ()
    k: int = 0
    timestamp: int = 0
    checkpoint: int = 0
    keys: tuple[Key, ...] = ()
    count: int = 0
    counts: tuple[int, ...] = ()
    found: tuple[Found, ...] = ()
    says_state: bool = True
    endpoint: str = ""
    repeated: bool = False
    unanswered: bool = False
    stood_still: bool = False

    @property
    def is_write(self) -> bool:
        return self.kind in ("insert", "upsert", "delete")

    @property
    def is_read(self) -> bool:
        return self.kind in ("query", "count", "search")

    def described(self) -> str:
        """In one line, for people."""
        what = self.condition.text if self.is_read or self.kind == "delete" else ""
        level = self.level.name if self.is_read else ""
        wrote = ",".join(f"{row.key}:{row.stamp}" for row in self.rows)
        said = self.error or f"ts={self.timestamp} count={self.count} found={len(self.found)}"
        parts = (self.client, self.kind, level, what, wrote, "->", self.outcome, said)
        span = f"[{self.start_s:.4f} … {self.end_s:.4f}]"
        return " ".join((span, *(part for part in parts if part)))


class History:
    """All operations, in the order they began, and what the faults were."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.events: list[tuple[float, str]] = []

    def lines(self) -> Iterable[str]:
        """Operations and events, in order of time."""
        told = [(one.start_s, one.described()) for one in self.operations]
        told += [(at_s, f"[{at_s:.4f}] * {what}") for at_s, what in self.events]
        return [line for _, line in sorted(told)]

    def digest(self) -> str:
        """Equal for equal histories, answers included."""
        encoder = msgspec.json.Encoder()
        state = hashlib.sha256()
        for operation in self.operations:
            state.update(encoder.encode(operation))
        state.update(encoder.encode(self.events))
        return state.hexdigest()
