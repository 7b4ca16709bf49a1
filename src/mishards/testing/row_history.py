"""Random mutations through pymilvus with the timestamps the server gave them, and the rows that
must be there at any timestamp.

Invariants: one thread mutates a collection, one call after the other, so the order of the calls is
that of their timestamps; what was not acknowledged is not in the history, and ends the thread.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import numpy as np
from pymilvus import DataType, MilvusClient

from mishards.testing.client_rows import connected
from mishards.testing.local_cluster import wait_for

KeyKind = Literal["integers", "texts", "automatic"]
Key = int | str
DIM = 8
_NULLABLE_DIM = 4
_EVERYWHERE = ""
_MOST_ROWS = 12
_READ_AT_ONCE = 16_000


class Placed(NamedTuple):
    """A row, and the partition it is in."""

    partition: str
    values: dict[str, Any]


class Change(NamedTuple):
    """One acknowledged mutation: keys deleted in a partition (empty: in all), rows put in one."""

    timestamp: int
    deleted: tuple[Key, ...] = ()
    partition: str = _EVERYWHERE
    rows: tuple[tuple[Key, dict[str, Any]], ...] = ()


class RowHistory:
    """Mutations of one collection, by chance."""

    def __init__(self, uri: str, name: str, keys: KeyKind, seed: int) -> None:
        self.name = name
        self.partitions = ["_default", "east", "west"]
        self.changes: list[Change] = []
        self._uri = uri
        self._keys = keys
        self._random = random.Random(f"{name}-{seed}")
        self._alive: dict[Key, str] = {}
        self._next = 0
        self._stop = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=f"history of {name}")

    def create(self, client: MilvusClient, index: str = "HNSW") -> None:
        """The collection: two vector fields, one of them nullable, scalars, a dynamic field."""
        schema = client.create_schema(enable_dynamic_field=True)
        kind = DataType.VARCHAR if self._keys == "texts" else DataType.INT64
        length = {"max_length": 40} if self._keys == "texts" else {}
        schema.add_field("id", kind, is_primary=True, auto_id=self._keys == "automatic", **length)
        schema.add_field("n", DataType.INT64)
        schema.add_field("ratio", DataType.DOUBLE, nullable=True)
        schema.add_field("text", DataType.VARCHAR, max_length=60, nullable=True)
        schema.add_field(
            "tags", DataType.ARRAY, element_type=DataType.INT64, max_capacity=8, nullable=True
        )
        schema.add_field("doc", DataType.JSON)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIM)
        schema.add_field("other", DataType.FLOAT_VECTOR, dim=_NULLABLE_DIM, nullable=True)
        indexes = client.prepare_index_params()
        indexes.add_index("vector", index_type=index, metric_type="L2")
        indexes.add_index("other", index_type="FLAT", metric_type="COSINE")
        client.create_collection(self.name, schema=schema, index_params=indexes)
        for partition in self.partitions[1:]:
            client.create_partition(self.name, partition)

    @contextmanager
    def going_on(self) -> Iterator[RowHistory]:
        """Mutations without a pause while the body runs; their error is raised at the end."""
        self._thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            self._thread.join()
        if self._error is not None:
            raise self._error

    def wait_for_more(self, count: int = 30) -> None:
        """Return when so many further mutations were acknowledged."""
        target = len(self.changes) + count

        def done() -> bool:
            if self._error is not None:
                raise self._error
            return len(self.changes) >= target

        wait_for(done, f"{count} more mutations of {self.name}")

    def rows_at(self, timestamp: int) -> dict[Key, Placed]:
        """The rows visible at a timestamp."""
        rows: dict[Key, Placed] = {}
        for change in self.changes:
            if change.timestamp > timestamp:
                break
            for key in change.deleted:
                if key in rows and change.partition in (_EVERYWHERE, rows[key].partition):
                    del rows[key]
            for key, values in change.rows:
                rows[key] = Placed(change.partition, values)
        return rows

    def _run(self) -> None:
        with connected(self._uri) as client:
            while not self._stop.is_set():
                try:
                    self.mutate(client)
                except Exception as error:
                    self._error = error
                    return

    def mutate(self, client: MilvusClient) -> None:
        """One call: an insert, an upsert or a delete."""
        chance = self._random.random()
        known = self._random.sample(sorted(self._alive, key=str), min(4, len(self._alive)))
        if chance < 0.5 or len(known) < 4:
            self._insert(client)
        elif chance < 0.75 and self._keys != "automatic":
            self._upsert(client, known)
        else:
            self._delete(client, known)

    def _insert(self, client: MilvusClient) -> None:
        partition = self._random.choice(self.partitions)
        rows = [self._row() for _ in range(self._random.randint(1, _MOST_ROWS))]
        if self._keys != "automatic":
            for given in rows:
                given["id"] = self._key()
        answer = _connection(client).insert_rows(self.name, rows, partition_name=partition)
        self._put(answer, partition, list(answer.primary_keys), rows)

    def _upsert(self, client: MilvusClient, known: list[Key]) -> None:
        """Rows of keys that are there, and of one that is not; all go to one partition."""
        partition = self._random.choice(self.partitions)
        keys = [*known, self._key()]
        rows = [{**self._row(), "id": key} for key in keys]
        answer = _connection(client).upsert_rows(self.name, rows, partition_name=partition)
        self._put(answer, partition, keys, rows, deletes_first=True)

    def _put(
        self,
        answer: Any,
        partition: str,
        keys: list[Key],
        rows: list[dict[str, Any]],
        *,
        deletes_first: bool = False,
    ) -> None:
        if deletes_first:
            # A key is in one place: an upsert takes it from wherever it was.
            self.changes.append(Change(answer.timestamp, tuple(keys)))
        put = tuple((key, {**row, "id": key}) for key, row in zip(keys, rows, strict=True))
        self.changes.append(Change(answer.timestamp, (), partition, put))
        self._alive |= dict.fromkeys(keys, partition)

    def _delete(self, client: MilvusClient, known: list[Key]) -> None:
        """In all partitions, or in one: then only the keys that are in it go."""
        partition = self._random.choice(["", self._alive[known[0]]])
        shown = ", ".join(repr(key) for key in known)
        answer = _connection(client).delete(
            self.name, f"id in [{shown}]", partition_name=partition or None
        )
        self.changes.append(Change(answer.timestamp, tuple(known), partition))
        for key in known:
            if partition in ("", self._alive[key]):
                del self._alive[key]

    def _key(self) -> Key:
        self._next += 1
        return f"key-{self._next:06d}" if self._keys == "texts" else self._next

    def _row(self) -> dict[str, Any]:
        """A row without its key; what is null is null, what is dynamic may be absent."""
        chance = self._random
        number = chance.randrange(1000)
        row: dict[str, Any] = {
            "n": number,
            "ratio": chance.choice([None, chance.random()]),
            "text": chance.choice([None, "", f"grüße {number}"]),
            "tags": chance.choice([None, [], [number, -number]]),
            "doc": {"a": [number, None], "b": {"c": number / 2}},
            "vector": _vector(chance, DIM),
            "other": chance.choice([None, _vector(chance, _NULLABLE_DIM)]),
        }
        if chance.random() < 0.5:
            row["color"] = chance.choice(["red", "blue"])
        return row


def stored_rows(client: MilvusClient, name: str) -> dict[Key, Placed]:
    """All rows of a collection, by a Strong query of each partition.

    Raises:
        AssertionError: a key came twice, or `count(*)` says otherwise.
    """
    found: dict[Key, Placed] = {}
    for partition in client.list_partitions(name):
        rows = client.query(
            name,
            filter="n >= 0",
            output_fields=["*"],
            partition_names=[partition],
            consistency_level="Strong",
            limit=_READ_AT_ONCE,
        )
        for row in rows:
            values = _plain(row)
            assert values["id"] not in found, f"key {values['id']!r} came twice"
            found[values["id"]] = Placed(partition, values)
    count = client.query(name, filter="", output_fields=["count(*)"], consistency_level="Strong")
    assert count[0]["count(*)"] == len(found), "count(*) and the rows disagree"
    return found


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """The values of a row as the client was given them."""
    values = dict(row)
    for field in ("vector", "other"):
        if values[field] is not None:
            values[field] = [float(x) for x in np.asarray(values[field], np.float32)]
    if values["tags"] is not None:
        values["tags"] = list(values["tags"])
    return values


def _vector(chance: random.Random, dim: int) -> list[float]:
    """Numbers that float32 holds exactly."""
    return [float(np.float32(chance.uniform(-1, 1))) for _ in range(dim)]


def _connection(client: MilvusClient) -> Any:
    """The client's own layer whose answers carry their timestamps."""
    return client._get_connection()
