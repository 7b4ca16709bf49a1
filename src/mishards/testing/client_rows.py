"""A small collection with known contents, worked on through pymilvus.

Invariants: the row of an id is a function of the id and a generation, so that whoever knows those
knows the row; collections use L2 and, unless told otherwise, an exact index.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from pymilvus import DataType, MilvusClient

DIM = 16


@contextmanager
def connected(uri: str, **options: Any) -> Iterator[MilvusClient]:
    """A client, closed at the end."""
    client = MilvusClient(uri, **options)
    try:
        yield client
    finally:
        client.close()


def vector_of(key: int, generation: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The vector of a row, shape (DIM,)."""
    found: np.ndarray[Any, np.dtype[np.float32]]
    found = np.random.default_rng((key, generation)).standard_normal(DIM, np.float32)
    return found


def query_of(number: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A vector that is no row's, shape (DIM,)."""
    found: np.ndarray[Any, np.dtype[np.float32]]
    found = np.random.default_rng((number, 1, 1)).standard_normal(DIM, np.float32)
    return found


def row(key: int, generation: int = 0) -> dict[str, Any]:
    """The row of an id."""
    return {
        "id": key,
        "generation": generation,
        "name": f"n{key}",
        "vector": vector_of(key, generation),
    }


def create(
    client: MilvusClient, name: str, index: str = "FLAT", *, load: bool = True, **options: Any
) -> None:
    """A collection of such rows; indexed and loaded unless told otherwise."""
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("generation", DataType.INT64)
    schema.add_field("name", DataType.VARCHAR, max_length=64)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIM)
    indexes = client.prepare_index_params()
    indexes.add_index("vector", index_type=index, metric_type="L2")
    client.create_collection(name, schema=schema, index_params=indexes if load else None, **options)


def insert(client: MilvusClient, name: str, keys: Iterable[int], generation: int = 0) -> None:
    """Rows of one generation."""
    client.insert(name, [row(key, generation) for key in keys])


def nearest(
    client: MilvusClient, name: str, query: Any, limit: int = 10, **options: Any
) -> list[int]:
    """Ids of the nearest rows; Strong unless told otherwise."""
    level = options.pop("consistency_level", "Strong")
    hits = client.search(name, [query], limit=limit, consistency_level=level, **options)
    return [hit["id"] for hit in hits[0]]


def true_nearest(keys: Sequence[int], query: Any, limit: int = 10) -> list[int]:
    """The same by brute force, of rows of generation 0."""
    found = np.stack([vector_of(key) for key in keys])
    order = np.argsort(((found - query) ** 2).sum(axis=1), kind="stable")[:limit]
    return [keys[position] for position in order]


def contents(client: MilvusClient, name: str) -> dict[int, int]:
    """Generation by id of all rows, by a Strong query.

    Raises:
        AssertionError: an id came twice, or `count(*)` says otherwise.
    """
    rows = client.query(
        name,
        filter="id >= 0",
        output_fields=["id", "generation"],
        consistency_level="Strong",
        limit=16_000,
    )
    found = {found["id"]: found["generation"] for found in rows}
    assert len(found) == len(rows), "a primary key came twice in one answer"
    assert count(client, name) == len(found), "count(*) and a query disagree"
    return found


def count(client: MilvusClient, name: str) -> int:
    """All rows, Strong."""
    answer = client.query(name, filter="", output_fields=["count(*)"], consistency_level="Strong")
    return int(answer[0]["count(*)"])
