"""Indexes: create, describe, list, drop; every family finds what brute force finds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pymilvus import Collection, DataType, MilvusClient, MilvusException, utility

KEY = {"datatype": DataType.INT64, "is_primary": True}
VECTOR = {"datatype": DataType.FLOAT_VECTOR, "dim": 2}
DIM, ROWS, K = 16, 1200, 10
FAMILIES: dict[str, tuple[dict[str, Any], dict[str, Any], float]] = {
    "FLAT": ({}, {}, 1.0),
    "IVF_FLAT": ({"nlist": 16}, {"nprobe": 16}, 1.0),
    "IVF_SQ8": ({"nlist": 16}, {"nprobe": 16}, 0.9),
    "IVF_PQ": ({"nlist": 16, "m": 8, "nbits": 6}, {"nprobe": 16}, 0.4),
    "HNSW": ({"M": 16, "efConstruction": 100}, {"ef": 64}, 0.95),
    "AUTOINDEX": ({}, {}, 0.9),
}
"""Build parameters, search parameters, least recall."""
Create = Callable[..., str]
Wait = Callable[[Callable[[], bool]], None]


@pytest.fixture
def bare(client: MilvusClient, name: str) -> str:
    """A collection without an index."""
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)
    client.create_collection(name, schema=schema)
    return name


def index_of(client: MilvusClient, collection: str, **settings: Any) -> None:
    params = client.prepare_index_params()
    params.add_index("vector", **settings)
    client.create_index(collection, params, sync=False)


@pytest.mark.on_cluster
def test_create_describe_list_drop(client: MilvusClient, bare: str) -> None:
    settings = {"index_type": "HNSW", "metric_type": "IP", "params": {"M": 8}}
    settings["params"]["efConstruction"] = 60
    index_of(client, bare, index_name="mine", **settings)
    assert client.list_indexes(bare) == ["mine"]
    assert client.list_indexes(bare, field_name="vector") == ["mine"]
    described = client.describe_index(bare, "mine")
    assert described["field_name"] == "vector"
    assert described["index_name"] == "mine"
    assert (described["index_type"], described["metric_type"]) == ("HNSW", "IP")
    assert (described["M"], described["efConstruction"]) == ("8", "60")
    assert described["state"] == "Finished"
    assert (described["total_rows"], described["pending_index_rows"]) == (0, 0)
    client.drop_index(bare, "mine")
    assert client.list_indexes(bare) == []


def test_without_a_type_it_is_an_autoindex(client: MilvusClient, bare: str) -> None:
    index_of(client, bare)
    described = client.describe_index(bare, "vector")
    assert (described["index_type"], described["metric_type"]) == ("AUTOINDEX", "COSINE")


def test_the_same_again_and_a_missing_one(client: MilvusClient, bare: str) -> None:
    client.drop_index(bare, "not_there")
    settings = {"index_type": "IVF_FLAT", "metric_type": "L2", "params": {"nlist": 8}}
    index_of(client, bare, **settings)
    index_of(client, bare, **settings)
    assert client.list_indexes(bare) == ["vector"]
    with pytest.raises(MilvusException, match="index") as caught:
        index_of(client, bare, **{**settings, "metric_type": "IP"})
    assert caught.value.code == 702
    assert client.describe_index(bare, "not_there") is None


def test_an_index_of_a_loaded_collection_is_not_dropped(
    client: MilvusClient, create: Create
) -> None:
    name = create({"id": KEY, "vector": VECTOR})
    with pytest.raises(MilvusException, match="release"):
        client.drop_index(name, "vector")
    client.release_collection(name)
    client.drop_index(name, "vector")
    assert client.list_indexes(name) == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"index_type": "NO_SUCH"}, "NO_SUCH"),
        ({"index_type": "HNSW", "metric_type": "HAMMING"}, "HAMMING"),
        ({"index_type": "HNSW", "params": {"M": 1}}, "M"),
        ({"index_type": "HNSW", "params": {"M": "many"}}, "M"),
        ({"index_type": "IVF_FLAT", "params": {"nlist": 0}}, "nlist"),
        ({"index_type": "IVF_PQ", "params": {"nlist": 8, "m": 3}}, "m"),
    ],
)
def test_indexes_that_are_refused(
    client: MilvusClient, bare: str, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(MilvusException, match=said) as caught:
        index_of(client, bare, **{"metric_type": "L2", **settings})
    assert caught.value.code in (1100, 701)
    assert client.list_indexes(bare) == []


def test_fields_that_are_refused(client: MilvusClient, bare: str) -> None:
    params = client.prepare_index_params()
    params.add_index("nothing", index_type="FLAT", metric_type="L2")
    with pytest.raises(MilvusException, match="nothing"):
        client.create_index(bare, params)


def brute_force(data: np.ndarray, queries: np.ndarray, metric: str) -> list[set[int]]:
    if metric == "L2":
        scores = -((queries[:, None] - data[None]) ** 2).sum(-1)
    elif metric == "IP":
        scores = queries @ data.T
    else:
        scores = (queries @ data.T) / np.linalg.norm(data, axis=1)
    return [set(row) for row in np.argsort(-scores, axis=1)[:, :K].tolist()]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_and_metric_finds_the_nearest(
    client: MilvusClient, create: Create, eventually: Wait, family: str
) -> None:
    check_recall(client, create, eventually, family, ["L2", "IP", "COSINE"])


@pytest.mark.on_cluster
def test_indexes_are_built_and_searched(
    client: MilvusClient, create: Create, eventually: Wait
) -> None:
    check_recall(client, create, eventually, "HNSW", ["COSINE"])


def check_recall(
    client: MilvusClient, create: Create, eventually: Wait, family: str, metrics: list[str]
) -> None:
    """One vector field per metric, the same vectors in each."""
    build, search, least = FAMILIES[family]
    rng = np.random.default_rng(5)
    data = rng.normal(size=(ROWS, DIM)).astype(np.float32)
    queries = rng.normal(size=(20, DIM)).astype(np.float32)
    vector = {"datatype": DataType.FLOAT_VECTOR, "dim": DIM}
    name = create(
        {"id": KEY, **dict.fromkeys(metrics, vector)},
        indexes={m: {"index_type": family, "metric_type": m, "params": build} for m in metrics},
    )
    client.insert(name, [{"id": n, **dict.fromkeys(metrics, data[n])} for n in range(ROWS)])
    client.flush(name)
    for metric in metrics:
        eventually(lambda m=metric: not client.describe_index(name, m)["pending_index_rows"])
        described = client.describe_index(name, metric)
        assert (described["total_rows"], described["indexed_rows"]) == (ROWS, ROWS)
        found = client.search(
            name, queries, anns_field=metric, limit=K, search_params={"params": search}
        )
        truth = brute_force(data, queries, metric)
        hits = [{hit["id"] for hit in one} for one in found]
        recall = sum(len(a & b) for a, b in zip(hits, truth, strict=True)) / (K * len(truth))
        assert recall >= least, metric


def test_progress_through_the_orm(client: MilvusClient, bare: str, using: str) -> None:
    collection = Collection(bare, using=using)
    assert collection.has_index() is False
    assert collection.indexes == []
    collection.create_index(
        "vector", {"index_type": "IVF_FLAT", "metric_type": "L2", "params": {"nlist": 4}}
    )
    assert collection.has_index() is True
    index = collection.index()
    assert (index.field_name, index.index_name) == ("vector", "vector")
    assert index.params["index_type"] == "IVF_FLAT"
    assert index.params["metric_type"] == "L2"
    assert index.params["params"] == {"nlist": 4}
    progress = utility.index_building_progress(bare, using=using)
    assert (progress["total_rows"], progress["indexed_rows"]) == (0, 0)
    assert utility.wait_for_index_building_complete(bare, using=using) is True
    assert utility.list_indexes(bare, using=using) == ["vector"]
    collection.drop_index()
    assert collection.has_index() is False
