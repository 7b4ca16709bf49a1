"""Insert, upsert and delete: what they return, what is then there, what is refused."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from pymilvus import DataType, MilvusClient, MilvusException
from pymilvus.exceptions import DataNotMatchException, ParamError

KEY = {"datatype": DataType.INT64, "is_primary": True}
TEXT_KEY = {"datatype": DataType.VARCHAR, "is_primary": True, "max_length": 30}
VECTOR = {"datatype": DataType.FLOAT_VECTOR, "dim": 2}
NUMBER = {"datatype": DataType.INT32}
Create = Callable[..., str]


def row(key: Any, number: int = 0) -> dict[str, Any]:
    return {"id": key, "number": number, "vector": [float(number), 1.0]}


@pytest.mark.on_cluster
def test_insert_upsert_delete(client: MilvusClient, create: Create) -> None:
    name = create({"id": KEY, "number": NUMBER, "vector": VECTOR})
    inserted = client.insert(name, [row(key) for key in (1, 2, 3)])
    assert (inserted["insert_count"], list(inserted["ids"])) == (3, [1, 2, 3])
    upserted = client.upsert(name, [row(2, 20), row(4, 40)])
    assert upserted["upsert_count"] == 2
    found = client.query(name, "id > 0", output_fields=["number"])
    assert found == [
        {"id": 1, "number": 0},
        {"id": 2, "number": 20},
        {"id": 3, "number": 0},
        {"id": 4, "number": 40},
    ]
    assert client.delete(name, ids=[1, 99])["delete_count"] >= 1
    assert client.delete(name, filter="number == 40")["delete_count"] == 1
    assert [found["id"] for found in client.query(name, "id > 0")] == [2, 3]
    client.insert(name, row(1, 10))
    assert client.get(name, 1, output_fields=["number"]) == [{"id": 1, "number": 10}]


@pytest.mark.on_cluster
def test_text_keys(client: MilvusClient, create: Create) -> None:
    name = create({"id": TEXT_KEY, "number": NUMBER, "vector": VECTOR})
    inserted = client.insert(name, [row("b", 1), row('a "b"', 2), row("ü", 3)])
    assert list(inserted["ids"]) == ["b", 'a "b"', "ü"]
    client.upsert(name, [row("b", 9)])
    assert client.get(name, ["b", "ü"], output_fields=["number"]) == [
        {"id": "b", "number": 9},
        {"id": "ü", "number": 3},
    ]
    assert client.search(name, [[9.0, 1.0]], limit=1)[0][0]["id"] == "b"
    assert client.delete(name, ids=['a "b"', "b"])["delete_count"] == 2
    assert [found["id"] for found in client.query(name, "number > 0")] == ["ü"]


@pytest.mark.parametrize(("key", "kind"), [(KEY, int), (TEXT_KEY, str)], ids=["INT64", "VARCHAR"])
def test_auto_ids(
    client: MilvusClient, create: Create, key: dict[str, Any], kind: type[object]
) -> None:
    name = create({"id": {**key, "auto_id": True}, "vector": VECTOR})
    first = client.insert(name, [{"vector": [0.0, 1.0]}, {"vector": [0.0, 2.0]}])["ids"]
    second = client.insert(name, {"vector": [0.0, 3.0]})["ids"]
    ids = [*first, *second]
    assert len(set(ids)) == 3
    assert all(isinstance(one, kind) for one in ids)
    stored = client.get(name, ids, output_fields=["vector"])
    assert {found["id"]: found["vector"][1] for found in stored} == dict(
        zip(ids, [1.0, 2.0, 3.0], strict=True)
    )
    assert client.delete(name, ids=[ids[0]])["delete_count"] == 1
    assert {found["id"] for found in client.query(name, "", limit=10)} == set(ids[1:])


def test_an_upsert_with_auto_ids_gives_new_ones(client: MilvusClient, create: Create) -> None:
    name = create({"id": {**KEY, "auto_id": True}, "number": NUMBER, "vector": VECTOR})
    rows = [{"number": n, "vector": [0.0, 0.0]} for n in range(2)]
    first, second = client.insert(name, rows)["ids"]
    done = client.upsert(name, [{"id": first, "number": 9, "vector": [0.0, 0.0]}])
    (new,) = done["ids"] if "ids" in done else done["primary_keys"]
    assert new not in (first, second)
    found = client.query(name, "", limit=10, output_fields=["number"])
    assert {row["id"]: row["number"] for row in found} == {second: 1, new: 9}


def test_auto_ids_are_not_given(client: MilvusClient, create: Create) -> None:
    name = create({"id": {**KEY, "auto_id": True}, "vector": VECTOR})
    with pytest.raises((MilvusException, DataNotMatchException)):
        client.insert(name, [{"id": 1, "vector": [0.0, 1.0]}])
    assert client.query(name, "", limit=1) == []


@pytest.mark.on_cluster
def test_the_newest_of_equal_keys_is_found_once(client: MilvusClient, create: Create) -> None:
    name = create({"id": KEY, "number": NUMBER, "vector": VECTOR})
    for number in range(3):
        client.upsert(name, [row(7, number)])
        client.flush(name)
    client.upsert(name, [row(7, 3)])
    assert client.query(name, "id == 7", output_fields=["number"]) == [{"id": 7, "number": 3}]
    hits = client.search(name, [[0.0, 1.0]], limit=10)[0]
    assert [(hit["id"], hit["distance"]) for hit in hits] == [(7, 9.0)]
    assert client.query(name, "", output_fields=["count(*)"]) == [{"count(*)": 1}]


def test_dynamic_fields(client: MilvusClient, create: Create) -> None:
    name = create({"id": KEY, "vector": VECTOR}, dynamic=True)
    rows = [
        {"id": 1, "vector": [0.0, 0.0], "color": "red", "nested": {"a": [1, 2]}},
        {"id": 2, "vector": [0.0, 0.0], "size": 1.5, "flag": True, "none": None},
        {"id": 3, "vector": [0.0, 0.0]},
    ]
    client.insert(name, rows)
    # Lists of rows decode JSON when a row is taken, not when they are compared.
    assert [*map(dict, client.query(name, "id > 0", output_fields=["*"]))] == rows
    client.upsert(name, {"id": 1, "vector": [0.0, 0.0], "color": "blue"})
    (row,) = client.get(name, 1, output_fields=["color", "nested"])
    assert dict(row) == {"id": 1, "color": "blue"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"vector": [1.0]}, "dim"),
        ({"vector": [1.0, float("nan")]}, "finite|NaN|nan"),
        ({"vector": [1.0, float("inf")]}, "finite|Inf|inf"),
        ({"vector": "text"}, "vector"),
        ({"number": "text"}, "number"),
        ({"number": 2**31}, "number|int"),
        ({"number": None}, "number"),
        ({"text": "x" * 9}, "text"),
        ({"text": 5}, "text"),
        ({"extra": 1}, "extra"),
        ({"tags": [1] * 4}, "tags"),
        ({"id": None}, "id"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_rows_that_are_refused(
    client: MilvusClient, refusing: str, change: dict[str, Any], said: str
) -> None:
    good = {**row(1), "text": "x", "tags": [1]}
    for call in (client.insert, client.upsert):
        with pytest.raises((MilvusException, ParamError, DataNotMatchException), match=said):
            call(refusing, [good, {**good, "id": 2, **change}])
    assert client.query(refusing, "id > 0") == []


@pytest.mark.parametrize("field", ["id", "number", "text", "vector"])
def test_a_missing_field_is_refused(client: MilvusClient, refusing: str, field: str) -> None:
    good = {**row(1), "text": "x", "tags": [1]}
    del good[field]
    with pytest.raises((MilvusException, DataNotMatchException), match=field):
        client.insert(refusing, [good])
    assert client.query(refusing, "id >= 0") == []


@pytest.fixture(scope="module")
def refusing(client: MilvusClient) -> Any:
    """A collection without a dynamic field, and without rows."""
    name = f"compat_refusing_{uuid.uuid4().hex[:8]}"
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("number", DataType.INT32)
    schema.add_field("text", DataType.VARCHAR, max_length=8)
    schema.add_field("tags", DataType.ARRAY, element_type=DataType.INT8, max_capacity=3)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)
    index = client.prepare_index_params()
    index.add_index("vector", index_type="FLAT", metric_type="L2")
    client.create_collection(name, schema=schema, index_params=index, consistency_level="Strong")
    yield name
    client.drop_collection(name)


def test_deletes_that_are_refused(client: MilvusClient, refusing: str) -> None:
    with pytest.raises(MilvusException, match="colour"):
        client.delete(refusing, filter="colour == 1")
    with pytest.raises(ParamError):
        client.delete(refusing, ids=[1], filter="number == 1")


def test_delete_with_a_template(client: MilvusClient, create: Create) -> None:
    name = create({"id": KEY, "number": NUMBER, "vector": VECTOR})
    client.insert(name, [row(key, key) for key in range(5)])
    done = client.delete(name, filter="number in {wanted}", filter_params={"wanted": [1, 3]})
    assert done["delete_count"] == 2
    assert [found["id"] for found in client.query(name, "id >= 0")] == [0, 2, 4]
