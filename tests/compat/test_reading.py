"""Query and get: shapes, output fields, limit and offset, counts, iterators."""

from __future__ import annotations

from typing import Any

import pytest
from pymilvus import DataType, MilvusClient, MilvusException

KEY = {"datatype": DataType.INT64, "is_primary": True}
VECTOR = {"datatype": DataType.FLOAT_VECTOR, "dim": 2}
pytestmark = pytest.mark.on_cluster


def ids(rows: Any) -> list[int]:
    return [row["id"] for row in rows]


def test_query_returns_rows(client: MilvusClient, words: str) -> None:
    rows = client.query(words, "id in [2, 3]")
    assert len(rows) == 2
    assert dict(rows[0]) == {
        "id": 2,
        "word": "two",
        "size": 1.0,
        "tags": ["t2", "all"],
        "vector": [2.0, 0.0],
        "even": {"half": 1},
    }
    assert "even" not in rows[1]


@pytest.mark.parametrize(
    ("fields", "keys"),
    [
        (["word"], {"id", "word"}),
        (["id"], {"id"}),
        (["even"], {"id", "even"}),
        (["*"], {"id", "word", "size", "tags", "vector", "even"}),
        (["*", "even"], {"id", "word", "size", "tags", "vector", "even"}),
        (["*", "nothing"], {"id", "word", "size", "tags", "vector", "even"}),
        (["vector", "nothing"], {"id", "vector"}),
        (["$meta"], {"id", "even"}),
    ],
)
def test_output_fields(client: MilvusClient, words: str, fields: list[str], keys: set[str]) -> None:
    (row,) = client.query(words, "id == 4", output_fields=fields)
    assert set(row) == keys
    hit = client.search(words, [[4.0, 0.0]], limit=1, output_fields=fields)[0][0]
    assert set(hit["entity"]) == (keys if {"*", "id"} & set(fields) else keys - {"id"})


def test_an_unknown_output_field_is_refused(client: MilvusClient, create: Any) -> None:
    name = create({"id": KEY, "vector": VECTOR})
    with pytest.raises(MilvusException, match="colour"):
        client.query(name, "id > 0", output_fields=["colour"])


def test_limit_and_offset(client: MilvusClient, words: str) -> None:
    assert ids(client.query(words, "id >= 0", limit=3)) == [0, 1, 2]
    assert ids(client.query(words, "id >= 0", limit=3, offset=4)) == [4, 5, 6]
    assert ids(client.query(words, "size > 1", limit=100, offset=5)) == [8, 9]
    assert ids(client.query(words, "", limit=2)) == [0, 1]
    assert client.query(words, "id >= 0", limit=5, offset=50) == []


@pytest.mark.parametrize(
    "options", [{"limit": 0}, {"limit": -3}, {"limit": 16385}, {"limit": 5, "offset": -1}]
)
def test_windows_that_are_refused(
    client: MilvusClient, words: str, options: dict[str, int]
) -> None:
    with pytest.raises(MilvusException):
        client.query(words, "id >= 0", **options)


def test_neither_filter_nor_limit_is_refused(client: MilvusClient, words: str) -> None:
    with pytest.raises(MilvusException):
        client.query(words, "")


def test_count(client: MilvusClient, words: str) -> None:
    assert client.query(words, "", output_fields=["count(*)"]) == [{"count(*)": 10}]
    assert client.query(words, "id < 7", output_fields=["count(*)"]) == [{"count(*)": 7}]
    assert client.query(words, "id < 0", output_fields=["count(*)"]) == [{"count(*)": 0}]
    for fields, options in ((["count(*)", "id"], {}), (["count(*)"], {"limit": 3})):
        with pytest.raises(MilvusException, match="count"):
            client.query(words, "id >= 0", output_fields=fields, **options)


def test_get(client: MilvusClient, words: str) -> None:
    assert client.get(words, 7, output_fields=["word"]) == [{"id": 7, "word": "seven"}]
    rows = client.get(words, [5, 1, 99])
    assert sorted(ids(rows)) == [1, 5]
    assert set(rows[0]) == {"id", "word", "size", "tags", "vector"}
    assert client.get(words, []) == []
    assert client.query(words, ids=[3, 2], output_fields=["word"]) == [
        {"id": 2, "word": "two"},
        {"id": 3, "word": "three"},
    ]


@pytest.mark.parametrize("batch", [1, 3, 10, 50])
def test_query_iterator(client: MilvusClient, words: str, batch: int) -> None:
    iterator = client.query_iterator(words, batch_size=batch, output_fields=["word"])
    pages = []
    while page := iterator.next():
        pages.append(page)
    iterator.close()
    assert [row["id"] for page in pages for row in page] == list(range(10))
    assert max(map(len, pages)) <= batch
    assert set(pages[0][0]) == {"id", "word"}


@pytest.mark.parametrize("key", [KEY, {**KEY, "auto_id": True}], ids=["given", "auto"])
def test_query_iterator_sees_the_moment_it_began(
    client: MilvusClient, create: Any, key: dict[str, Any]
) -> None:
    name = create({"id": key, "vector": VECTOR})
    rows = [{"vector": [0.0, 0.0], **({} if "auto_id" in key else {"id": n})} for n in range(4)]
    began = list(client.insert(name, rows)["ids"])
    iterator = client.query_iterator(name, batch_size=1, output_fields=["vector"])
    found = []
    while page := iterator.next():
        found += ids(page)
        # With ids of the server's the rows go on under new ones, which come after all others.
        client.upsert(name, [{**row, "vector": [1.0, 1.0]} for row in page])
        client.delete(name, ids=began[-1:])
    iterator.close()
    assert found == began
    assert len(client.query(name, "", limit=10)) == (4 if "auto_id" in key else 3)


def test_query_iterator_with_filter_and_limit(client: MilvusClient, words: str) -> None:
    iterator = client.query_iterator(words, batch_size=2, limit=5, filter="size >= 1")
    found = []
    while page := iterator.next():
        found.extend(page)
    iterator.close()
    assert ids(found) == [2, 3, 4, 5, 6]
