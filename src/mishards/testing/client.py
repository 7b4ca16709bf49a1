"""Clients of a simulated cluster: the calls they can make, each recorded.

Invariants: a key that was inserted is written again only by upserts, and only after the insert was
acknowledged, so no two rows ever have one key; no stamp is used twice, so every answer can be
traced to the write it shows.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import numpy as np

from mishards.core.errors import MishardsError
from mishards.metadata.models import DEFAULT_DATABASE, ConsistencyLevel
from mishards.proxy.calls import DeleteCall, InsertCall, QueryCall, SearchCall
from mishards.proxy.proxy import Proxy
from mishards.rpc.messages import (
    Ddl,
)
from mishards.testing.asked import CALL
from mishards.testing.cluster import SimulatedCluster
from mishards.testing.history import (
    GROUP_FIELD,
    KEY_FIELD,
    STAMP_FIELD,
    Condition,
    Found,
    History,
    Key,
    Operation,
    Row,
)
from mishards.testing.shape import COLLECTION, DIM, Shape, batch_of

GROUPS = 6
_PATIENCE_S = 0.5
"""How much longer than its deadline a client waits for an answer."""
_OUTPUT = (KEY_FIELD, GROUP_FIELD, STAMP_FIELD)
_LEVELS = (
    ConsistencyLevel.STRONG,
    ConsistencyLevel.STRONG,
    ConsistencyLevel.BOUNDED,
    ConsistencyLevel.SESSION,
    ConsistencyLevel.EVENTUALLY,
)


class Clients:
    """What all clients share: the cluster, the record, the keys to write again."""

    def __init__(self, seed: str, cluster: SimulatedCluster, shape: Shape) -> None:
        self.cluster = cluster
        self.shape = shape
        self.schema = shape.schema
        self.history = History()
        self.keys: list[Key] = []
        self._seed = seed
        self._stamps = itertools.count(1)
        self._numbers = itertools.count(1)
        self._proxies = [host.name for host in cluster.with_role("proxy")]

    def client(self, name: str, timeout_s: float) -> Client:
        return Client(self, name, random.Random(f"{self._seed}/{name}"), self._proxies, timeout_s)

    def new_key(self) -> Key:
        number = next(self._numbers)
        return f"key-{number}" if self.shape.text_keys else number

    def new_row(self, key: Key, chance: random.Random) -> Row:
        # Sixty-fourths are exact in float32; no vector is zero, which COSINE could not measure.
        vector = tuple(chance.randrange(1, 128) / 64 - 1 + 1 / 128 for _ in range(DIM))
        return Row(key, chance.randrange(GROUPS), next(self._stamps), vector)


class Client:
    """One client: calls one proxy after another, and remembers its last write."""

    def __init__(
        self,
        clients: Clients,
        name: str,
        chance: random.Random,
        proxies: list[str],
        timeout_s: float,
    ) -> None:
        self.random = chance
        self.shared = clients
        self.name = name
        self._proxies = proxies
        self._timeout_s = timeout_s
        self._last_write = 0

    # --- writes ---------------------------------------------------------------------------------

    async def insert(self, *, must_succeed: bool = False) -> Operation:
        shared = self.shared
        rows = tuple(
            shared.new_row(shared.new_key(), self.random) for _ in range(self.random.randint(1, 12))
        )
        operation = self._begin("insert", must_succeed=must_succeed)
        operation.rows = rows
        call = self._insert_call(rows)
        await self._write(operation, lambda proxy: proxy.insert(call))
        if operation.outcome == "ok":
            # Others write the keys from now on. Of an insert that failed nobody does: it may
            # yet take place, and a second row beside an upsert's would be right.
            shared.keys.extend(row.key for row in rows)
        return operation

    async def upsert(self) -> Operation:
        shared = self.shared
        old = shared.keys[-120:]
        keys = self.random.sample(old, min(len(old), self.random.randint(1, 6)))
        if self.random.random() < 0.3 or not keys:
            keys.append(shared.new_key())
            shared.keys.append(keys[-1])
        operation = self._begin("upsert")
        operation.rows = rows = tuple(shared.new_row(key, self.random) for key in keys)
        call = self._insert_call(rows)
        return await self._write(operation, lambda proxy: proxy.upsert(call))

    async def delete_keys(self) -> Operation:
        old = self.shared.keys[-150:]
        keys = self.random.sample(old, min(len(old), self.random.randint(1, 6)))
        return await self._delete(Condition(keys=tuple(keys)) if keys else Condition((0,)))

    async def delete_group(self) -> Operation:
        return await self._delete(Condition(groups=(self.random.randrange(GROUPS),)))

    async def _delete(self, condition: Condition) -> Operation:
        operation = self._begin("delete")
        operation.condition = condition
        call = DeleteCall(
            database=DEFAULT_DATABASE,
            collection=COLLECTION,
            timeout_s=self._timeout_s,
            filter=condition.text,
        )
        return await self._write(operation, lambda proxy: proxy.delete(call))

    def _insert_call(self, rows: tuple[Row, ...]) -> InsertCall:
        return InsertCall(
            database=DEFAULT_DATABASE,
            collection=COLLECTION,
            timeout_s=self._timeout_s,
            batch=batch_of(rows, self.shared.schema),
        )

    async def _write(
        self, operation: Operation, work: Callable[[Proxy], Awaitable[Any]]
    ) -> Operation:
        answer = await self._call(operation, work)
        if answer is not None:
            operation.timestamp, operation.count = answer.timestamp, answer.count
            if operation.kind == "delete":
                operation.keys = tuple(answer.keys.to_pylist())
            if answer.count:
                self._last_write = answer.timestamp
        return operation

    # --- reads ----------------------------------------------------------------------------------

    async def query(self) -> Operation:
        condition = self._some_condition()
        return await self.query_for(condition, self.random.choice(_LEVELS))

    async def query_for(
        self,
        condition: Condition,
        level: ConsistencyLevel,
        *,
        must_succeed: bool = False,
        count: bool = False,
    ) -> Operation:
        """The rows that match, or their number."""
        operation = self._begin_read("count" if count else "query", condition, level)
        operation.must_succeed = must_succeed
        call = QueryCall(
            database=DEFAULT_DATABASE,
            collection=COLLECTION,
            timeout_s=self._timeout_s,
            filter=condition.text,
            output=("count(*)",) if count else _OUTPUT,
            consistency=level,
            guarantee_ts=operation.guarantee_ts,
        )
        answer = await self._call(operation, lambda proxy: proxy.query(call))
        if answer is not None:
            operation.timestamp = answer.read_ts
            operation.checkpoint = answer.view.meta.checkpoint
            operation.count = answer.count or 0
            if answer.columns is not None:
                columns = answer.columns.to_pydict()
                operation.found = tuple(
                    Found(*values)
                    for values in zip(*(columns[name] for name in _OUTPUT), strict=True)
                )
        return operation

    async def count(self) -> Operation:
        level = self.random.choice(_LEVELS)
        return await self.query_for(self._some_condition(), level, count=True)

    async def search(self) -> Operation:
        k = self.random.choice((1, 3, 10, 40))
        condition = self._some_condition() if self.random.random() < 0.5 else Condition()
        return await self.search_for(condition, self.random.choice(_LEVELS), k)

    async def search_for(
        self, condition: Condition, level: ConsistencyLevel, k: int, *, must_succeed: bool = False
    ) -> Operation:
        """The nearest rows that match, of one or two queries."""
        shape = self.shared.shape
        operation = self._begin_read("search", condition, level)
        operation.must_succeed = must_succeed
        operation.k = k
        operation.queries = tuple(
            tuple(self.random.randrange(1, 128) / 64 - 1 + 1 / 128 for _ in range(DIM))
            for _ in range(self.random.choice((1, 1, 2)))
        )
        call = SearchCall(
            database=DEFAULT_DATABASE,
            collection=COLLECTION,
            timeout_s=self._timeout_s,
            queries=np.asarray(operation.queries, np.float32).tobytes(),
            nq=len(operation.queries),
            limit=k,
            params=shape.search_params,
            filter="" if condition == Condition() else condition.text,
            output=_OUTPUT,
            consistency=level,
            guarantee_ts=operation.guarantee_ts,
        )
        answer = await self._call(operation, lambda proxy: proxy.search(call))
        if answer is not None:
            operation.timestamp = answer.read_ts
            operation.checkpoint = answer.view.meta.checkpoint
            operation.counts = tuple(answer.counts.tolist())
            operation.found = _hits(answer)
        return operation

    def _some_condition(self) -> Condition:
        if self.random.random() < 0.3 and self.shared.keys:
            old = self.shared.keys[-150:]
            return Condition(keys=tuple(self.random.sample(old, min(len(old), 8))))
        count = self.random.choice((0, 1, 2))
        return Condition(groups=tuple(sorted(self.random.sample(range(GROUPS), count))))

    def _begin_read(self, kind: str, condition: Condition, level: ConsistencyLevel) -> Operation:
        operation = self._begin(kind)
        operation.condition, operation.level = condition, level
        if level is ConsistencyLevel.SESSION:
            operation.guarantee_ts = self._last_write
        return operation

    # --- everything else ------------------------------------------------------------------------

    async def flush(self) -> Operation:
        operation = self._begin("flush")
        operation.timeout_s = self._ddl_timeout_s
        await self._call(operation, lambda proxy: proxy.flush(DEFAULT_DATABASE, [COLLECTION]))
        return operation

    async def ddl(self, *messages: Ddl, must_succeed: bool = False) -> Operation:
        """Several statements through one proxy, one after another; the last one's outcome."""
        for message in messages:
            operation = self._begin("ddl", must_succeed=must_succeed)
            operation.timeout_s = self._ddl_timeout_s
            await self._call(operation, partial(_execute, message))
            if operation.outcome != "ok":
                break
        return operation

    @property
    def _ddl_timeout_s(self) -> float:
        return self.shared.cluster.ddl_timeout_s

    def _begin(self, kind: str, *, must_succeed: bool = False) -> Operation:
        return Operation(
            client=self.name,
            kind=kind,
            timeout_s=self._timeout_s,
            start_s=asyncio.get_running_loop().time(),
            must_succeed=must_succeed,
        )

    async def _call(
        self, operation: Operation, work: Callable[[Proxy], Awaitable[Any]]
    ) -> Any | None:
        """Make the call through some proxy and record how it went."""
        loop = asyncio.get_running_loop()
        operation.start_s = loop.time()
        self.shared.history.operations.append(operation)
        CALL.set(len(self.shared.history.operations))
        try:
            process, proxy = self.shared.cluster.proxy(self.random.choice(self._proxies))
            try:
                async with asyncio.timeout(operation.timeout_s + _PATIENCE_S):
                    answer = await process.run(_awaited(work, proxy))
            finally:
                operation.stood_still = process.frozen or process.stood_still_s >= operation.start_s
        except TimeoutError:
            operation.outcome, operation.error = "failed", "no answer"
            return None
        except MishardsError as error:
            operation.outcome = "refused" if error.input_fault else "failed"
            operation.error = f"{type(error).__name__}: {error.message}"
            return None
        except Exception as error:
            operation.outcome, operation.error = "crashed", f"{type(error).__name__}: {error}"
            return None
        else:
            operation.outcome = "ok"
            return answer
        finally:
            operation.end_s = loop.time()


async def _execute(message: Ddl, proxy: Proxy) -> None:
    await proxy.ddl(message)


async def _awaited(work: Callable[[Proxy], Awaitable[Any]], proxy: Proxy) -> Any:
    return await work(proxy)


def _hits(answer: Any) -> tuple[Found, ...]:
    keys = answer.keys if isinstance(answer.keys, list) else answer.keys.tolist()
    if answer.columns is None:
        return ()
    columns = answer.columns.to_pydict()
    hits = zip(
        keys,
        columns[GROUP_FIELD],
        columns[STAMP_FIELD],
        answer.distances.tolist(),
        strict=True,
    )
    return tuple(Found(*hit) for hit in hits)
