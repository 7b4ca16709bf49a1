"""One client of a real cluster, through pymilvus, that records what it asks and gets.

Invariants: times are the machine's wall clock, the one that stamps the files of the log; a call is
one attempt with a deadline, repeated by the client itself only where it is a read and nobody
answered; keys and stamps are used as the simulated clients use them. Connections are its own: those
that the client library shares are looked after by it, with calls that nobody here asked for.
"""

from __future__ import annotations

import inspect
import itertools
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc
from pymilvus import MilvusException
from pymilvus.client.grpc_handler import GrpcHandler

from mishards.metadata.models import ConsistencyLevel
from mishards.testing.history import (
    GROUP_FIELD,
    KEY_FIELD,
    STAMP_FIELD,
    VECTOR_FIELD,
    Condition,
    Found,
    History,
    Key,
    Operation,
    Row,
)
from mishards.testing.shape import COLLECTION, DIM

GROUPS = 6
_OUTPUT = [KEY_FIELD, GROUP_FIELD, STAMP_FIELD]
_PAUSE_S = 0.02
_LEVELS = (ConsistencyLevel.STRONG, ConsistencyLevel.SESSION, ConsistencyLevel.BOUNDED)


def _attempt(name: str) -> Callable[..., Any]:
    """A call of the client library without its own retries, so that a deadline is one."""
    found: Callable[..., Any] = inspect.unwrap(getattr(GrpcHandler, name))
    return found


_insert, _upsert, _delete = (_attempt(name) for name in ("insert_rows", "upsert_rows", "delete"))
_search, _query = _attempt("search"), _attempt("query")


class Record:
    """What all clients of a run share: the record, and the keys to write again.

    Attributes:
        history: all calls so far.
        uris: of the proxies.
        name: of the collection.
        keys: rows that are there, as far as the clients know.
        levels: consistency levels of reads.
        options: with which clients connect.
    """

    def __init__(
        self, uris: Sequence[str], seed: int, timeout_s: float, name: str = COLLECTION
    ) -> None:
        """`timeout_s`: the deadline of each call."""
        self.history = History()
        self.uris = list(uris)
        self.seed = seed
        self.timeout_s = timeout_s
        self.name = name
        self.levels: Sequence[ConsistencyLevel] = _LEVELS
        self.options: Mapping[str, Any] = {}
        self.keys: list[Key] = []
        self._stamps = itertools.count(1)
        self._numbers = itertools.count(1)

    def new_row(self, key: Key, chance: random.Random) -> Row:
        # Sixty-fourths are exact in float32.
        vector = tuple(chance.randrange(1, 128) / 64 - 1 + 1 / 128 for _ in range(DIM))
        return Row(key, chance.randrange(GROUPS), next(self._stamps), vector)

    def new_key(self) -> Key:
        return next(self._numbers)


class RecordedClient:
    """One client, for one thread; calls one proxy or another."""

    def __init__(self, record: Record, name: str) -> None:
        self.name = name
        self.random = random.Random(f"{record.seed}/{name}")
        self._record = record
        self._handlers = {uri: GrpcHandler(uri, **record.options) for uri in record.uris}
        self._last_write: dict[str, int] = {}
        self._broke = False

    def close(self) -> None:
        """Close its connections."""
        for handler in self._handlers.values():
            handler.close()

    def some_call(self) -> Operation:
        """This or that."""
        calls: list[Callable[[], Operation]] = [
            self.insert, self.upsert, self.delete, self.query, self.count, self.search,
        ]  # fmt: skip
        return self.random.choices(calls, (5, 6, 3, 5, 2, 8))[0]()

    # --- writes -----------------------------------------------------------------------------

    def insert(self) -> Operation:
        record = self._record
        rows = tuple(
            record.new_row(record.new_key(), self.random) for _ in range(self.random.randint(1, 8))
        )
        operation = self._write_rows("insert", rows, _insert)
        if operation.outcome == "ok":
            # Of an insert that failed nobody writes the keys again: it may yet take place.
            record.keys.extend(row.key for row in rows)
        return operation

    def upsert(self) -> Operation:
        record = self._record
        old = record.keys[-120:]
        keys = self.random.sample(old, min(len(old), self.random.randint(1, 6)))
        if not keys or self.random.random() < 0.3:
            keys.append(record.new_key())
            record.keys.append(keys[-1])
        return self._repeated(lambda: self._upsert_once(keys))

    def _upsert_once(self, keys: list[Key]) -> Operation:
        rows = tuple(self._record.new_row(key, self.random) for key in keys)
        return self._write_rows("upsert", rows, _upsert)

    def delete(self) -> Operation:
        old = self._record.keys[-150:]
        keys = tuple(self.random.sample(old, min(len(old), self.random.randint(1, 6)))) or (0,)
        return self._repeated(lambda: self._delete_once(keys))

    def _delete_once(self, keys: tuple[Key, ...]) -> Operation:
        operation = self._begin("delete")
        operation.condition = Condition(keys=keys)
        answer = self._call(operation, _delete, expression=operation.condition.text)
        if answer is not None:
            operation.keys = operation.condition.keys
            self._acknowledged(operation, answer.timestamp, answer.delete_count)
        return operation

    def _repeated(self, write: Callable[[], Operation]) -> Operation:
        """Write until it is acknowledged, where the connection broke and nobody knows whether it
        was applied: harmless for what may be done twice."""
        deadline_s = time.time() + self._record.timeout_s
        while True:
            operation = write()
            if operation.outcome == "ok" or not self._broke or time.time() > deadline_s:
                return operation
            operation.repeated = True
            time.sleep(_PAUSE_S)

    def _write_rows(self, kind: str, rows: tuple[Row, ...], call: Callable[..., Any]) -> Operation:
        operation = self._begin(kind)
        operation.rows = rows
        names = (KEY_FIELD, GROUP_FIELD, STAMP_FIELD, VECTOR_FIELD)
        entities = [dict(zip(names, row, strict=True)) for row in rows]
        answer = self._call(operation, call, entities=entities)
        if answer is not None:
            self._acknowledged(operation, answer.timestamp, len(rows))
        return operation

    def _acknowledged(self, operation: Operation, timestamp: int, count: int) -> None:
        operation.timestamp, operation.count = timestamp, count
        self._last_write[operation.endpoint] = timestamp

    # --- reads ------------------------------------------------------------------------------

    def query(self) -> Operation:
        return self.query_for(self._some_condition(), self.random.choice(self._record.levels))

    def count(self) -> Operation:
        level = self.random.choice(self._record.levels)
        return self.query_for(self._some_condition(), level, count=True)

    def query_for(
        self,
        condition: Condition,
        level: ConsistencyLevel,
        *,
        count: bool = False,
        must_succeed: bool = False,
    ) -> Operation:
        """The rows that match, or their number."""
        operation = self._begin_read("count" if count else "query", condition, level, must_succeed)
        answer = self._call(
            operation,
            _query,
            expr=condition.text,
            output_fields=["count(*)"] if count else _OUTPUT,
            consistency_level=int(level),
        )
        if answer is not None and count:
            operation.count = int(answer[0]["count(*)"])
        elif answer is not None:
            operation.found = tuple(Found(*(row[name] for name in _OUTPUT)) for row in answer)
        return operation

    def search(self) -> Operation:
        condition = self._some_condition() if self.random.random() < 0.5 else Condition()
        k = self.random.choice((1, 3, 10, 40))
        return self.search_for(condition, self.random.choice(self._record.levels), k)

    def search_for(
        self, condition: Condition, level: ConsistencyLevel, k: int, *, must_succeed: bool = False
    ) -> Operation:
        """The nearest rows that match, of one or two queries."""
        operation = self._begin_read("search", condition, level, must_succeed)
        operation.k = k
        operation.queries = tuple(
            self._record.new_row(0, self.random).vector
            for _ in range(self.random.choice((1, 1, 2)))
        )
        answer = self._call(
            operation,
            _search,
            anns_field=VECTOR_FIELD,
            param={"params": {}},
            limit=k,
            data=[list(query) for query in operation.queries],
            expression="" if condition == Condition() else condition.text,
            output_fields=_OUTPUT,
            consistency_level=int(level),
        )
        if answer is not None:
            operation.counts = tuple(len(hits) for hits in answer)
            operation.found = tuple(
                Found(*(*(hit["entity"][name] for name in _OUTPUT), hit["distance"]))
                for hits in answer
                for hit in hits
            )
        return operation

    def _some_condition(self) -> Condition:
        keys = self._record.keys[-150:]
        if self.random.random() < 0.3 and keys:
            return Condition(keys=tuple(self.random.sample(keys, min(len(keys), 8))))
        count = self.random.choice((0, 1, 2))
        return Condition(groups=tuple(sorted(self.random.sample(range(GROUPS), count))))

    # --- calls ------------------------------------------------------------------------------

    def _begin(self, kind: str, *, must_succeed: bool = False) -> Operation:
        return Operation(
            client=self.name,
            kind=kind,
            timeout_s=self._record.timeout_s,
            start_s=time.time(),
            must_succeed=must_succeed,
            says_state=False,
            endpoint=self.random.choice(self._record.uris),
        )

    def _begin_read(
        self, kind: str, condition: Condition, level: ConsistencyLevel, must_succeed: bool
    ) -> Operation:
        operation = self._begin(kind, must_succeed=must_succeed)
        operation.condition, operation.level = condition, level
        if level is ConsistencyLevel.SESSION:
            # A session is between a client and one endpoint, as the client library has it.
            operation.guarantee_ts = self._last_write.get(operation.endpoint, 0)
        return operation

    def _call(self, operation: Operation, call: Callable[..., Any], **options: Any) -> Any | None:
        """Make the call, with retries of what did nothing, and record how it went."""
        operation.start_s = time.time()
        deadline_s = operation.start_s + operation.timeout_s
        self._broke = False
        self._record.history.operations.append(operation)
        try:
            while True:
                try:
                    answer = self._once(operation, call, deadline_s, options)
                except (grpc.RpcError, MilvusException) as error:
                    operation.outcome, operation.error = _outcome(error), _described(error)
                    if not self._may_repeat(operation, error, deadline_s):
                        operation.unanswered = self._broke
                        return None
                    time.sleep(_PAUSE_S)
                else:
                    operation.outcome, operation.error = "ok", ""
                    return answer
        except Exception as error:
            operation.outcome, operation.error = "crashed", f"{type(error).__name__}: {error}"
            return None
        finally:
            operation.end_s = time.time()

    def _once(
        self,
        operation: Operation,
        call: Callable[..., Any],
        deadline_s: float,
        options: dict[str, Any],
    ) -> Any:
        left_s = max(deadline_s - time.time(), 0.001)
        handler = self._handlers[operation.endpoint]
        return call(handler, self._record.name, timeout=left_s, **options)

    def _may_repeat(self, operation: Operation, error: Any, deadline_s: float) -> bool:
        """Whether the call may be made again: nobody answered, and it did nothing.

        It goes to the next proxy; a read of session level then sees the writes that went there.
        """
        self._broke = _is_away(error)
        if operation.is_write and not _was_never_sent(error):
            return False
        if not self._broke or time.time() + _PAUSE_S >= deadline_s:
            return False
        uris = self._record.uris
        operation.endpoint = uris[(uris.index(operation.endpoint) + 1) % len(uris)]
        if operation.is_read and operation.level is ConsistencyLevel.SESSION:
            operation.guarantee_ts = self._last_write.get(operation.endpoint, 0)
        return True


def _is_away(error: Any) -> bool:
    """Whether nobody answered at all."""
    return isinstance(error, grpc.RpcError) and error.code() is grpc.StatusCode.UNAVAILABLE


def _was_never_sent(error: Any) -> bool:
    """Whether the call reached nobody, or somebody who says that nothing was done for it."""
    if not _is_away(error):
        return False
    said = (error.details() or "").lower()
    return "failed to connect" in said or "the call was not taken" in said


def _outcome(error: Any) -> str:
    """`refused` where the input was at fault, by Milvus's own codes."""
    if isinstance(error, MilvusException) and error.code in (100, 200, 700, 1100, 1101):
        return "refused"
    return "failed"


def _described(error: Any) -> str:
    if isinstance(error, grpc.RpcError):
        return f"{error.code()}: {error.details()}"
    return f"{type(error).__name__} {error.code}: {error.message}"
