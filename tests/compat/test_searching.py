"""Search: shapes, order, metrics, limit and offset, partitions, parameters, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pymilvus import DataType, MilvusClient, MilvusException

KEY = {"datatype": DataType.INT64, "is_primary": True}
Create = Callable[..., str]


def ids(hits: Any) -> list[int]:
    return [hit["id"] for hit in hits]


@pytest.mark.on_cluster
def test_hits(client: MilvusClient, words: str) -> None:
    found = client.search(
        words, [[3.0, 4.0], [9.0, 0.0]], limit=3, output_fields=["word", "even", "vector"]
    )
    assert len(found) == 2
    assert ids(found[0]) == [3, 2, 4] or ids(found[0]) == [3, 4, 2]
    best = found[0][0]
    assert best["distance"] == best.distance == 16.0
    assert best["entity"] == {"word": "three", "vector": [3.0, 0.0]}
    assert best.get("word") == "three"
    last = found[1][1]
    assert (last["id"], last["distance"]) == (8, 1.0)
    assert last["entity"]["even"] == {"half": 4}
    assert dict(client.search(words, [[0.0, 0.0]], limit=1)[0][0]) == {
        "id": 0,
        "distance": 0.0,
        "entity": {},
    }


@pytest.mark.on_cluster
def test_limit_and_offset(client: MilvusClient, words: str) -> None:
    query = [[0.1, 0.0]]
    assert ids(client.search(words, query)[0]) == list(range(10))
    assert ids(client.search(words, query, limit=4)[0]) == [0, 1, 2, 3]
    for options in ({"offset": 3}, {"search_params": {"offset": 3}}):
        assert ids(client.search(words, query, limit=4, **options)[0]) == [3, 4, 5, 6]
    assert ids(client.search(words, query, limit=16384)[0]) == list(range(10))
    assert ids(client.search(words, query, limit=5, offset=50)[0]) == []
    assert ids(client.search(words, query, filter="id < 0")[0]) == []


@pytest.mark.on_cluster
@pytest.mark.parametrize("metric", ["L2", "IP", "COSINE"])
def test_distances_of_each_metric(client: MilvusClient, create: Create, metric: str) -> None:
    rng = np.random.default_rng(11)
    data = rng.normal(size=(40, 6)).astype(np.float32)
    queries = rng.normal(size=(3, 6)).astype(np.float32)
    name = create(
        {"id": KEY, "vector": {"datatype": DataType.FLOAT_VECTOR, "dim": 6}},
        indexes={"vector": {"index_type": "FLAT", "metric_type": metric}},
    )
    rows = [{"id": n, "vector": vector.tolist()} for n, vector in enumerate(data)]
    client.insert(name, rows[:20])
    client.flush(name)
    client.insert(name, rows[20:])
    if metric == "COSINE":
        data = data / np.linalg.norm(data, axis=1, keepdims=True)
        queries = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    if metric == "L2":
        scores = ((queries[:, None] - data[None]) ** 2).sum(-1)
        order = np.argsort(scores, axis=1)[:, :10]
    else:
        scores = queries @ data.T
        order = np.argsort(-scores, axis=1)[:, :10]
    found = client.search(name, queries.tolist(), limit=10)
    for number, hits in enumerate(found):
        assert ids(hits) == order[number].tolist()
        expected = scores[number][order[number]]
        np.testing.assert_allclose(
            [hit["distance"] for hit in hits], expected, rtol=1e-5, atol=1e-5
        )


def test_the_metric_may_be_named_and_must_be_the_index_s(client: MilvusClient, words: str) -> None:
    query = [[0.0, 0.0]]
    params = {"metric_type": "L2"}
    assert ids(client.search(words, query, limit=1, search_params=params)[0]) == [0]
    with pytest.raises(MilvusException, match="metric") as caught:
        client.search(words, query, search_params={"metric_type": "IP"})
    assert caught.value.code == 1100


def test_rounding(client: MilvusClient, words: str) -> None:
    hits = client.search(words, [[0.123, 0.0]], limit=1, round_decimal=2)[0]
    assert hits[0]["distance"] == pytest.approx(0.02, abs=1e-6)


@pytest.mark.parametrize(
    ("data", "options", "said"),
    [
        ([[1.0]], {}, "dim"),
        ([[1.0, 2.0, 3.0]], {}, "dim"),
        ([[float("nan"), 0.0]], {}, "NaN|finite"),
        ([[0.0, float("inf")]], {}, "infinity|finite"),
        ([[0.0, 0.0]], {"limit": 0}, "limit|topk"),
        ([[0.0, 0.0]], {"limit": 16385}, "16384"),
        ([[0.0, 0.0]], {"limit": 10, "offset": 16380}, "16384"),
        ([[0.0, 0.0]], {"offset": -1}, "offset"),
        ([[0.0, 0.0]], {"anns_field": "word"}, "word"),
        ([[0.0, 0.0]], {"anns_field": "nothing"}, "nothing"),
        ([[0.0, 0.0]], {"search_params": {"metric_type": "HAMMING"}}, "HAMMING|metric"),
        ([[0.0, 0.0]], {"search_params": {"params": {"radius": 1.0}}}, "radius"),
        ([[0.0, 0.0]], {"group_by_field": "word"}, "group_by"),
    ],
)
def test_searches_that_are_refused(
    client: MilvusClient, words: str, data: Any, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(MilvusException, match=said):
        client.search(words, data, **options)
    assert ids(client.search(words, [[0.0, 0.0]], limit=1)[0]) == [0]


def test_several_vector_fields_must_be_chosen_from(client: MilvusClient, create: Create) -> None:
    vector = {"datatype": DataType.FLOAT_VECTOR, "dim": 2}
    name = create({"id": KEY, "a": vector, "b": vector})
    with pytest.raises(MilvusException, match="anns_field"):
        client.search(name, [[0.0, 0.0]])


def test_many_queries_at_once(client: MilvusClient, words: str) -> None:
    queries = [[n % 10 + 0.2, 0.0] for n in range(500)]
    found = client.search(words, queries, limit=1)
    assert [hits[0]["id"] for hits in found] == [n % 10 for n in range(500)]


@pytest.mark.parametrize("nq", [0, 16385])
def test_numbers_of_queries_that_are_refused(client: MilvusClient, words: str, nq: int) -> None:
    with pytest.raises((MilvusException, ValueError)):
        client.search(words, [[0.0, 0.0]] * nq)


def test_search_by_ids_is_refused_by_name(client: MilvusClient, words: str) -> None:
    with pytest.raises((MilvusException, TypeError), match=r"ids|data"):
        client.search(words, ids=[1, 2], limit=1)
