"""The ORM classes: Collection, Partition, Index, utility, and what they return."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from pymilvus import (
    Collection,
    CollectionSchema,
    DataType,
    FieldSchema,
    Index,
    MilvusException,
    Partition,
    utility,
)

pytestmark = pytest.mark.on_cluster
SCHEMA = CollectionSchema(
    [
        FieldSchema("id", DataType.INT64, is_primary=True),
        FieldSchema("title", DataType.VARCHAR, max_length=20),
        FieldSchema("vector", DataType.FLOAT_VECTOR, dim=4),
    ],
    description="books",
)
FLAT = {"index_type": "FLAT", "metric_type": "L2", "params": {}}


@pytest.fixture
def books(using: str, name: str) -> Iterator[Collection]:
    """Four rows, indexed and loaded; unit vectors in the order of ids 1 to 4."""
    collection = Collection(name, SCHEMA, using=using, consistency_level="Strong")
    result = collection.insert([[1, 2, 3, 4], ["a", "b", "c", "d"], np.eye(4, dtype=np.float32)])
    assert (result.insert_count, result.succ_count, result.err_count) == (4, 4, 0)
    assert list(result.primary_keys) == [1, 2, 3, 4]
    assert result.timestamp > 0
    collection.create_index("vector", FLAT, _async=True).result()
    collection.load()
    yield collection
    collection.drop()


def test_what_a_collection_says_of_itself(books: Collection, using: str) -> None:
    books.flush()
    assert books.num_entities == 4
    assert books.is_empty is False
    assert books.primary_field.name == "id"
    assert books.description == "books"
    assert books.num_shards == 1
    assert [field.name for field in books.schema.fields] == ["id", "title", "vector"]
    assert books.schema == Collection(books.name, using=using).schema
    described = books.describe()
    assert described["collection_name"] == books.name
    assert utility.has_collection(books.name, using=using)
    assert books.name in utility.list_collections(using=using)
    with pytest.raises(MilvusException):
        Collection("not_there", using=using)


def test_reads(books: Collection) -> None:
    assert books.query("id in [1, 3]", output_fields=["title"]) == [
        {"id": 1, "title": "a"},
        {"id": 3, "title": "c"},
    ]
    assert books.query("id > 1", limit=1, offset=1) == [{"id": 3}]
    assert books.query("", output_fields=["count(*)"]) == [{"count(*)": 4}]
    assert books.query("title == {t}", expr_params={"t": "d"}) == [{"id": 4}]
    found = books.search(
        [[0, 0, 1, 0]],
        "vector",
        {"metric_type": "L2", "params": {}},
        limit=2,
        expr="id != 1",
        output_fields=["title"],
    )
    assert list(found[0].ids) == [3, 2] or list(found[0].ids) == [3, 4]
    assert found[0].distances[0] == 0.0
    hit = found[0][0]
    assert (hit.id, hit.distance, hit.entity.get("title")) == (3, 0.0, "c")


def test_an_asynchronous_search(books: Collection) -> None:
    future = books.search([[1, 0, 0, 0]], "vector", {}, limit=1, _async=True)
    assert future.result()[0][0].id == 1


def test_writes(books: Collection) -> None:
    upserted = books.upsert([[2, 5], ["B", "e"], np.ones((2, 4), np.float32)])
    assert upserted.upsert_count == 2
    deleted = books.delete("id in [1, 4]")
    assert deleted.delete_count == 2
    assert books.query("id > 0", output_fields=["title"]) == [
        {"id": 2, "title": "B"},
        {"id": 3, "title": "c"},
        {"id": 5, "title": "e"},
    ]
    inserted = books.insert([{"id": 9, "title": "row", "vector": [0.0] * 4}])
    assert list(inserted.primary_keys) == [9]


def test_partitions(books: Collection) -> None:
    partition = Partition(books, "new", description="")
    assert books.has_partition("new")
    assert [one.name for one in books.partitions] == ["_default", "new"]
    partition.insert([[7], ["g"], [[0.0, 0.0, 0.0, 2.0]]])
    partition.flush()
    assert (partition.num_entities, partition.is_empty) == (1, False)
    partition.load()
    assert partition.query("id > 0") == [{"id": 7}]
    assert list(partition.search([[0, 0, 0, 2]], "vector", {}, limit=5)[0].ids) == [7]
    partition.upsert([[7], ["G"], [[0.0, 0.0, 0.0, 2.0]]])
    assert books.query("id == 7", output_fields=["title"]) == [{"id": 7, "title": "G"}]
    assert partition.delete("id == 7").delete_count == 1
    partition.release()
    partition.drop()
    assert not books.has_partition("new")


def test_indexes(books: Collection) -> None:
    assert books.has_index()
    index = books.index()
    assert (index.field_name, index.params["index_type"]) == ("vector", "FLAT")
    books.release()
    books.drop_index()
    made = Index(books, "vector", {**FLAT, "metric_type": "IP"}, index_name="mine")
    assert [one.index_name for one in books.indexes] == ["mine"]
    assert books.index(index_name="mine").params["metric_type"] == "IP"
    made.drop()
    assert books.indexes == []
    books.create_index("vector", FLAT, _async=True).result()


def test_aliases_and_renames(books: Collection, using: str, new_name: Callable[[], str]) -> None:
    alias, other = new_name(), new_name()
    utility.create_alias(books.name, alias, using=using)
    assert utility.list_aliases(books.name, using=using) == [alias]
    assert list(books.aliases) == [alias]
    assert Collection(alias, using=using).query("id == 1") == [{"id": 1}]
    utility.alter_alias(books.name, alias, using=using)
    utility.drop_alias(alias, using=using)
    utility.rename_collection(books.name, other, using=using)
    assert utility.has_collection(other, using=using)
    utility.rename_collection(other, books.name, using=using)


def test_an_iterator(books: Collection) -> None:
    iterator = books.query_iterator(batch_size=3, expr="id > 0", output_fields=["title"])
    pages = [iterator.next(), iterator.next(), iterator.next()]
    iterator.close()
    assert [[row["id"] for row in page] for page in pages] == [[1, 2, 3], [4], []]


def test_segments_and_properties(books: Collection, using: str) -> None:
    books.flush()
    (segment,) = utility.get_query_segment_info(books.name, using=using)
    assert segment.num_rows == 4
    books.set_properties({"collection.insertRate.max.mb": "8"})
    assert books.describe()["properties"]["collection.insertRate.max.mb"] == "8"
