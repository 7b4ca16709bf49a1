"""The filter language, on sealed and growing rows, in queries and in searches."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from pymilvus import DataType, MilvusClient, MilvusException

EVEN = [0, 2, 4, 6, 8]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("id == 3", [3]),
        ("id != 3 and id < 5", [0, 1, 2, 4]),
        ("3 <= id < 6", [3, 4, 5]),
        ("6 > id >= 4", [4, 5]),
        ("id in [1, 5, 77]", [1, 5]),
        ("id not in [0, 1, 2, 3, 4, 5, 6]", [7, 8, 9]),
        ("not (id > 2)", [0, 1, 2]),
        ("!(id > 2)", [0, 1, 2]),
        ("id == 1 or id == 8", [1, 8]),
        ("id == 1 || id == 8 && size > 100", [1]),
        ("id % 4 == 1", [1, 5, 9]),
        ("id + 1 == 4", [3]),
        ("id * 2 >= 18", [9]),
        ("size == 2.5", [5]),
        ("size * 2 == 3", [3]),
        ("size >= 4", [8, 9]),
        ("word == 'two'", [2]),
        ('word like "t%"', [2, 3]),
        ('word like "%ve%"', [5, 7]),
        ('word like "%e"', [1, 3, 5, 9]),
        ('word like "_ix"', [6]),
        ('word in ["one", "six"]', [1, 6]),
        ('word > "t"', [0, 2, 3]),
        ("array_contains(tags, 't4')", [4]),
        ("array_contains_any(tags, ['t1', 't2'])", [1, 2]),
        ("array_contains_all(tags, ['t1', 'all'])", [1]),
        ("ARRAY_LENGTH(tags) == 3", []),
        ("array_length(tags) == 2 and id == 0", [0]),
        ('tags[0] == "t8"', [8]),
        ("exists even", EVEN),
        ("not exists even", [1, 3, 5, 7, 9]),
        ('even["half"] > 2', [6, 8]),
        ('$meta["even"]["half"] in [1, 2]', [2, 4]),
        ("even is not null and id > 4", [6, 8]),
        ("TRUE", list(range(10))),
    ],
)
@pytest.mark.on_cluster
def test_filters(client: MilvusClient, words: str, text: str, found: list[int]) -> None:
    assert [row["id"] for row in client.query(words, text, output_fields=["id"])] == found
    hits = client.search(words, [[0.0, 0.0]], filter=text, limit=10)[0]
    assert [hit["id"] for hit in hits] == found


@pytest.mark.parametrize(
    ("text", "params", "found"),
    [
        ("id == {x}", {"x": 4}, [4]),
        ("id in {xs}", {"xs": [1, 2, 3]}, [1, 2, 3]),
        ("word == {w} or size > {s}", {"w": "one", "s": 4.0}, [1, 9]),
        ("word in {ws} and id < {x}", {"ws": ["one", "six"], "x": 3}, [1]),
        ("array_contains_any(tags, {tags})", {"tags": ["t0", "t9"]}, [0, 9]),
        ('even["half"] == {half}', {"half": 3}, [6]),
        ("{low} <= id <= {high}", {"low": 2, "high": 3}, [2, 3]),
    ],
)
def test_templates(
    client: MilvusClient, words: str, text: str, params: dict[str, Any], found: list[int]
) -> None:
    rows = client.query(words, text, filter_params=params, output_fields=["id"])
    assert [row["id"] for row in rows] == found
    hits = client.search(words, [[0.0, 0.0]], filter=text, filter_params=params, limit=10)[0]
    assert [hit["id"] for hit in hits] == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('data["n"] == 3', [3]),
        ('data["s"] == "s2"', [2]),
        ('data["list"][0] == 4', [4]),
        ('json_contains(data["list"], 2)', [1, 2]),
        ('JSON_CONTAINS_ANY(data["list"], [0, 5])', [0, 4, 5]),
        ('json_contains_all(data["list"], [1, 2])', [1]),
        ('data["in"]["deep"] == true', [0, 2, 4]),
        ('exists data["odd"]', [1, 3, 5]),
        ('exists data["nothing"]', []),
        ('data["n"] > 3.5', [4, 5]),
        ('data["s"] like "s%" and data["n"] < 1', [0]),
        ('data["n"] in [1, 2, "x"]', [1, 2]),
    ],
)
def test_json(client: MilvusClient, documents: str, text: str, found: list[int]) -> None:
    rows = client.query(documents, text, output_fields=["id"])
    assert [row["id"] for row in rows] == found


@pytest.fixture(scope="module")
def documents(client: MilvusClient) -> Any:
    """Six rows with a JSON field, half of them sealed."""
    name = f"compat_documents_{uuid.uuid4().hex[:8]}"
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("data", DataType.JSON)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)
    index = client.prepare_index_params()
    index.add_index("vector", index_type="FLAT", metric_type="L2")
    client.create_collection(name, schema=schema, index_params=index, consistency_level="Strong")
    rows = []
    for n in range(6):
        data: dict[str, Any] = {"n": n, "s": f"s{n}", "list": [n, n + 1]}
        data["in"] = {"deep": n % 2 == 0}
        if n % 2:
            data["odd"] = 1
        rows.append({"id": n, "data": data, "vector": [0.0, 0.0]})
    client.insert(name, rows[:3])
    client.flush(name)
    client.insert(name, rows[3:])
    yield name
    client.drop_collection(name)


@pytest.mark.parametrize(
    "text",
    [
        "id ==",
        "id = 3",
        "id == 'three'",
        "id > 3 and",
        "(id > 3",
        "word > 3",
        "word like 3",
        "id in 5",
        "id in [1, 'a']",
        "vector == 1",
        "array_contains(word, 'a')",
        "array_contains_any(tags, 'a')",
        "id == {missing}",
        "no_function(id)",
        "size == 1 2",
        "id",
    ],
)
def test_broken_filters(client: MilvusClient, words: str, text: str) -> None:
    for call in (
        lambda: client.query(words, text),
        lambda: client.search(words, [[0.0, 0.0]], filter=text),
        lambda: client.delete(words, filter=text),
    ):
        with pytest.raises(MilvusException) as caught:
            call()
        assert caught.value.code == 1100
    assert client.query(words, "", output_fields=["count(*)"])[0]["count(*)"] == 10
