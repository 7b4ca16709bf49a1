"""Every field type: what goes in comes out, with nulls and defaults, sealed and growing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pymilvus import DataType, MilvusClient

KEY = {"datatype": DataType.INT64, "is_primary": True}
VECTOR = {"datatype": DataType.FLOAT_VECTOR, "dim": 2}
SCALARS: dict[str, tuple[dict[str, Any], list[Any]]] = {
    "bool": ({"datatype": DataType.BOOL}, [True, False]),
    "int8": ({"datatype": DataType.INT8}, [-128, 127]),
    "int16": ({"datatype": DataType.INT16}, [-(2**15), 2**15 - 1]),
    "int32": ({"datatype": DataType.INT32}, [-(2**31), 2**31 - 1]),
    "int64": ({"datatype": DataType.INT64}, [-(2**63), 2**63 - 1]),
    "float": ({"datatype": DataType.FLOAT}, [0.5, -1.25]),
    "double": ({"datatype": DataType.DOUBLE}, [0.1, -1e300]),
    "text": ({"datatype": DataType.VARCHAR, "max_length": 20}, ["", "grüße 🙂"]),
    "json": (
        {"datatype": DataType.JSON},
        [{"a": [1, None, {"b": "c"}], "d": 1.5, "e": True}, [1, "two"]],
    ),
}
ELEMENTS: dict[str, tuple[dict[str, Any], list[Any]]] = {
    "bools": ({"element_type": DataType.BOOL}, [[True, False], []]),
    "ints8": ({"element_type": DataType.INT8}, [[1, -2], [3]]),
    "ints64": ({"element_type": DataType.INT64}, [[2**62], [0, -1]]),
    "floats": ({"element_type": DataType.FLOAT}, [[0.5], [1.5, -2.5]]),
    "doubles": ({"element_type": DataType.DOUBLE}, [[0.1], []]),
    "texts": ({"element_type": DataType.VARCHAR, "max_length": 9}, [["a", "b"], ["ü"]]),
}


def fields(**extra: Any) -> dict[str, dict[str, Any]]:
    return {
        "id": KEY,
        **{name: {**spec, **extra} for name, (spec, _) in SCALARS.items()},
        **{
            name: {"datatype": DataType.ARRAY, "max_capacity": 4, **spec, **extra}
            for name, (spec, _) in ELEMENTS.items()
        },
        "vector": VECTOR,
    }


def values(number: int) -> dict[str, Any]:
    return {name: given[number] for name, (_, given) in {**SCALARS, **ELEMENTS}.items()}


def plain(row: dict[str, Any]) -> dict[str, Any]:
    """Array values as lists: clients give them as sequences of their own."""
    return {
        name: list(value) if name in ELEMENTS and value is not None else value
        for name, value in row.items()
    }


@pytest.mark.on_cluster
@pytest.mark.parametrize("sealed", [False, True], ids=["growing", "sealed"])
def test_values_come_back(client: MilvusClient, create: Callable[..., str], sealed: bool) -> None:
    name = create(fields())
    rows = [{"id": n, **values(n), "vector": [float(n), 0.5]} for n in range(2)]
    client.insert(name, rows)
    if sealed:
        client.flush(name)
    found = client.query(name, "id >= 0", output_fields=["*"])
    assert [plain(row) for row in found] == rows
    hits = client.search(name, [[0.0, 0.5]], limit=2, output_fields=["*"])[0]
    assert [plain(dict(hit["entity"])) for hit in hits] == rows


@pytest.mark.parametrize("sealed", [False, True], ids=["growing", "sealed"])
def test_nullable_fields(client: MilvusClient, create: Callable[..., str], sealed: bool) -> None:
    name = create(fields(nullable=True))
    given = {"id": 0, **values(0), "vector": [0.0, 0.0]}
    client.insert(name, [given, {"id": 1, "vector": [1.0, 0.0]}])
    nothing = dict.fromkeys(values(0))
    client.insert(name, [{"id": 2, **nothing, "vector": [2.0, 0.0]}])
    if sealed:
        client.flush(name)
    found = client.query(name, "id >= 0", output_fields=["*"])
    assert [plain(row) for row in found] == [
        given,
        {"id": 1, **nothing, "vector": [1.0, 0.0]},
        {"id": 2, **nothing, "vector": [2.0, 0.0]},
    ]
    for field in nothing:
        assert [r["id"] for r in client.query(name, f"{field} is null")] == [1, 2], field
        assert [r["id"] for r in client.query(name, f"{field} is not null")] == [0], field
    hits = client.search(name, [[2.0, 0.0]], limit=1, output_fields=["int8", "text", "json"])[0]
    assert dict(hits[0]["entity"]) == {"int8": None, "text": None, "json": None}


@pytest.mark.parametrize(
    ("kind", "default"),
    [
        ({"datatype": DataType.BOOL}, True),
        ({"datatype": DataType.INT8}, 5),
        ({"datatype": DataType.INT64}, 2**40),
        ({"datatype": DataType.FLOAT}, 1.5),
        ({"datatype": DataType.DOUBLE}, 0.1),
        ({"datatype": DataType.VARCHAR, "max_length": 9}, "given"),
    ],
    ids=lambda value: str(value) if not isinstance(value, dict) else value["datatype"].name,
)
def test_default_values(
    client: MilvusClient, create: Callable[..., str], kind: dict[str, Any], default: Any
) -> None:
    typed = np.float32(default) if kind["datatype"] == DataType.FLOAT else default
    name = create({"id": KEY, "value": {**kind, "default_value": typed}, "vector": VECTOR})
    client.insert(name, [{"id": 1, "vector": [0.0, 0.0]}])
    client.insert(name, [{"id": 2, "value": None, "vector": [0.0, 0.0]}])
    found = client.query(name, "id > 0", output_fields=["value"])
    assert found == [{"id": 1, "value": default}, {"id": 2, "value": default}]


def test_vectors_as_numpy_arrays(client: MilvusClient, create: Callable[..., str]) -> None:
    name = create({"id": KEY, "vector": VECTOR})
    client.insert(name, [{"id": 1, "vector": np.array([1, 2], np.float32)}])
    (row,) = client.query(name, "id == 1", output_fields=["vector"])
    assert list(row["vector"]) == [1.0, 2.0]
    hits = client.search(name, np.array([[1, 2]], np.float32), limit=1)
    assert hits[0][0]["distance"] == 0.0


def test_a_nullable_vector_field(client: MilvusClient, create: Callable[..., str]) -> None:
    name = create({"id": KEY, "vector": VECTOR, "other": {**VECTOR, "nullable": True}})
    rows = [
        {"id": 1, "vector": [0.0, 0.0], "other": None},
        {"id": 2, "vector": [0.0, 0.0], "other": [1.0, 1.0]},
    ]
    client.insert(name, rows)
    assert [*map(dict, client.query(name, "id > 0", output_fields=["*"]))] == rows
    hits = client.search(name, [[0.0, 1.0]], anns_field="other", limit=5)[0]
    assert [(hit["id"], hit["distance"]) for hit in hits] == [(2, 1.0)]


def test_several_vector_fields(client: MilvusClient, create: Callable[..., str]) -> None:
    name = create(
        {"id": KEY, "vector": VECTOR, "other": {"datatype": DataType.FLOAT_VECTOR, "dim": 3}},
        indexes={"other": {"index_type": "HNSW", "metric_type": "COSINE"}},
    )
    rows = [{"id": n, "vector": [float(n), 0.0], "other": np.eye(3)[n].tolist()} for n in range(3)]
    client.insert(name, rows)
    near = client.search(name, [[2.0, 0.0]], anns_field="vector", limit=3)[0]
    assert [hit["id"] for hit in near] == [2, 1, 0]
    like = client.search(
        name, [[0.0, 5.0, 0.0]], anns_field="other", limit=1, output_fields=["vector", "other"]
    )[0][0]
    assert (like["id"], like["distance"]) == (1, 1.0)
    assert dict(like["entity"]) == {"vector": [1.0, 0.0], "other": [0.0, 1.0, 0.0]}
