"""Searches and queries that cannot be answered: Milvus's code, the value, and what is allowed."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pymilvus import AnnSearchRequest, MilvusClient, MilvusException, RRFRanker
from pymilvus.grpc_gen import common_pb2, milvus_pb2

pytestmark = pytest.mark.usefixtures("unharmed")
NAN, INF = float("nan"), float("inf")
GOOD = [[3.0, 0.0, 1.0, 2.0]]
Said = tuple[str, ...]


def placeholders(
    vectors: list[bytes], kind: int = common_pb2.PlaceholderType.FloatVector, groups: int = 1
) -> bytes:
    group = common_pb2.PlaceholderGroup()
    for _ in range(groups):
        group.placeholders.add(tag="$0", type=kind, values=vectors)
    data: bytes = group.SerializeToString()
    return data


def packed(vectors: Any) -> list[bytes]:
    return [struct.pack(f"<{len(vector)}f", *vector) for vector in vectors]


def search_request(
    vectors: Any = GOOD, params: dict[str, Any] | None = None, **settings: Any
) -> milvus_pb2.SearchRequest:
    """A good search but for what is set; a parameter of None is left out."""
    request = milvus_pb2.SearchRequest(
        collection_name="all_types", placeholder_group=placeholders(packed(vectors))
    )
    pairs = {"anns_field": "vector", "topk": "3", "params": "{}", "metric_type": "L2"}
    for key, value in {**pairs, **(params or {})}.items():
        if value is not None:
            text = value if isinstance(value, str) else json.dumps(value)
            request.search_params.add(key=key, value=text)
    for name, value in settings.items():
        if isinstance(value, list):
            getattr(request, name).extend(value)
        else:
            setattr(request, name, value)
    return request


def inner(**params: Any) -> dict[str, Any]:
    return {"params": params}


MANY = np.zeros((16_385, 4), np.float32).tolist()
SEARCHES: dict[str, tuple[milvus_pb2.SearchRequest, int, Said]] = {
    "dimension": (search_request([[1.0] * 3]), 1100, ("'vector'", "dimension 4", "3")),
    "dimensions differ": (
        search_request([[1.0] * 4, [1.0] * 3]),
        1100,
        ("different sizes", "12, 16"),
    ),
    "no numbers": (search_request([[]]), 1100, ("'vector'", "dimension 4")),
    "part of a number": (
        search_request(placeholder_group=placeholders([b"\0" * 15])),
        1100,
        ("15 bytes",),
    ),
    "NaN": (search_request([[1.0, 1.0, NAN, 1.0]]), 1100, ("query vector 0", "NaN", "finite")),
    "infinity": (search_request([GOOD[0], [INF] * 4]), 1100, ("query vector 1", "finite")),
    "no queries": (search_request([]), 1100, ("nq is 0", "at least one")),
    "too many queries": (search_request(MANY), 1100, ("16385", "from 1 to 16384")),
    "nq not as stated": (search_request(nq=2), 1100, ("nq is 2", "1 query vectors")),
    "no placeholders": (search_request(placeholder_group=b""), 1101, ("query vectors",)),
    "broken placeholders": (
        search_request(placeholder_group=b"\xff"),
        1100,
        ("placeholder_group",),
    ),
    "two placeholders": (
        search_request(placeholder_group=placeholders(packed(GOOD), groups=2)),
        1101,
        ("not 2",),
    ),
    "binary queries": (
        search_request(
            placeholder_group=placeholders([b"\0"], common_pb2.PlaceholderType.BinaryVector)
        ),
        1100,
        ("BinaryVector", "FloatVector"),
    ),
    "unknown kind of queries": (
        search_request(placeholder_group=placeholders([b"\0"], 77)),
        1100,
        ("77",),
    ),
    "limit 0": (search_request(params={"topk": "0"}), 1100, ("limit 0", "from 1 to 16384")),
    "limit negative": (search_request(params={"topk": "-1"}), 1100, ("limit -1", "16384")),
    "limit too large": (search_request(params={"topk": "16385"}), 1100, ("16385", "16384")),
    "limit enormous": (search_request(params={"topk": "9" * 30}), 1100, ("9999", "16384")),
    "limit a text": (search_request(params={"topk": "many"}), 1100, ("'many'", "integer")),
    "limit of 5,000 digits": (search_request(params={"topk": "9" * 5000}), 1100, ("topk",)),
    "no limit": (search_request(params={"topk": None}), 1101, ("topk",)),
    "offset negative": (search_request(params={"offset": "-1"}), 1100, ("offset -1", "16384")),
    "window": (
        search_request(params={"topk": "16384", "offset": "1"}),
        1100,
        ("offset 1", "16385", "16384"),
    ),
    "nq times limit": (
        search_request(MANY[:1024], params={"topk": "16384"}),
        1102,
        ("1024 queries", "16384", "16777216", "at most 8388608"),
    ),
    "metric": (search_request(params={"metric_type": "L7"}), 1100, ("'L7'", "L2, IP, COSINE")),
    "another metric": (
        search_request(params={"metric_type": "IP"}),
        1100,
        ("'vector' has L2", "asks for IP"),
    ),
    "vector field": (search_request(params={"anns_field": "text"}), 1100, ("'text' is VARCHAR",)),
    "field": (search_request(params={"anns_field": "nothing"}), 1700, ("'nothing'", "all_types")),
    "ef too small": (search_request(params=inner(ef=2)), 1100, ("ef(2)", "k(3)")),
    "ef zero": (search_request(params=inner(ef=0)), 1100, ("'ef' (0)", "[1, 2147483647]")),
    "ef a text": (search_request(params=inner(ef="x")), 1100, ("'ef' ('x')", "integer")),
    "ef a bool": (search_request(params=inner(ef=True)), 1100, ("'ef' (True)", "integer")),
    "ef a list": (search_request(params=inner(ef=[1])), 1100, ("'ef' ([1])", "integer")),
    "unknown index parameter": (search_request(params=inner(efs=9)), 1100, ("'efs'", "ef")),
    "unknown parameter": (search_request(params={"speed": "high"}), 10, ("'speed'", "high")),
    "params no JSON": (search_request(params={"params": "{ef"}), 1100, ("params", "{ef")),
    "params no object": (search_request(params={"params": "[1]"}), 1100, ("[1]", "JSON object")),
    "params too deep": (search_request(params={"params": "[" * 8000}), 1100, ("JSON",)),
    "params too long": (
        search_request(params={"params": " " * 9000}),
        1100,
        ("9000 characters", "8192"),
    ),
    "round_decimal": (search_request(params={"round_decimal": "7"}), 1100, ("7", "[0, 6]")),
    "ignore_growing": (search_request(params={"ignore_growing": "so"}), 1100, ("'so'", "true")),
    "range search": (search_request(params=inner(radius=1.0)), 10, ("'radius'",)),
    "range filter": (search_request(params=inner(range_filter=1.0)), 10, ("'range_filter'",)),
    "grouping": (search_request(params={"group_by_field": "text"}), 10, ("'group_by_field'",)),
    "iterator": (search_request(params={"search_iter_v2": "True"}), 10, ("'search_iter_v2'",)),
    "level": (search_request(consistency_level=9), 1100, ("9", "0 to 4")),
    "guarantee of a far future": (
        search_request(consistency_level=4, guarantee_timestamp=2**63),
        1100,
        (f"guarantee_timestamp {2**63}", "in the future", "86400"),
    ),
    "collection": (search_request(collection_name="nobody"), 100, ("nobody",)),
    "database": (search_request(db_name="elsewhere"), 800, ("elsewhere",)),
    "partition": (search_request(partition_names=["nowhere"]), 200, ("nowhere",)),
    "not loaded": (search_request(collection_name="not_loaded"), 101, ("not_loaded",)),
    "no index": (search_request(collection_name="without_index"), 700, ("'vector'", "no index")),
    "filter": (search_request(dsl="i64 =="), 1100, ("cannot parse expression", "^")),
    "filter too deep": (search_request(dsl="(" * 5000 + "i64 == 1"), 1100, ("parse expression",)),
    "a parameter given twice": (search_request(), 1100, ("'topk' is given twice",)),
}
SEARCHES["a parameter given twice"][0].search_params.add(key="topk", value="4")
SEARCHES["output field"] = (
    search_request(collection_name="auto_ids", output_fields=["color"]),
    1700,
    ("'color'", "id, vector"),
)


@pytest.mark.parametrize("case", SEARCHES)
def test_searches(stub: Any, case: str) -> None:
    request, code, said = SEARCHES[case]
    answer = stub.Search(request)
    assert answer.status.code == code, answer.status
    for words in said:
        assert words in answer.status.reason
    assert not answer.results.ids.int_id.data


def query_request(expr: str = "id < 3", **settings: Any) -> milvus_pb2.QueryRequest:
    names = settings.pop("output_fields", ["id"])
    params = settings.pop("params", {})
    request = milvus_pb2.QueryRequest(
        **{"collection_name": "all_types", "expr": expr, "output_fields": names, **settings}
    )
    for key, value in params.items():
        request.query_params.add(key=key, value=value)
    return request


QUERIES: dict[str, tuple[milvus_pb2.QueryRequest, int, Said]] = {
    "limit 0": (query_request(params={"limit": "0"}), 1100, ("limit 0", "greater than 0")),
    "limit negative": (query_request(params={"limit": "-5"}), 1100, ("limit -5",)),
    "limit too large": (query_request(params={"limit": "16385"}), 1100, ("16385", "16384")),
    "limit a text": (query_request(params={"limit": "x"}), 1100, ("'limit'", "'x'", "integer")),
    "window": (
        query_request(params={"limit": "16384", "offset": "1"}),
        1100,
        ("offset 1", "limit 16384", "0 to 16384"),
    ),
    "offset negative": (query_request(params={"limit": "1", "offset": "-1"}), 1100, ("-1",)),
    "no filter and no limit": (query_request(""), 1100, ("empty expression", "limit")),
    "unknown parameter": (query_request(params={"speed": "high"}), 10, ("'speed'",)),
    "count with fields": (
        query_request(output_fields=["count(*)", "id"]),
        1100,
        ("count(*)", "alone", "id"),
    ),
    "count with a limit": (
        query_request(output_fields=["count(*)"], params={"limit": "3"}),
        1100,
        ("count(*)", "limit"),
    ),
    "level": (query_request(consistency_level=77), 1100, ("77", "0 to 4")),
    "collection": (query_request(collection_name="nobody"), 100, ("nobody",)),
    "database": (query_request(db_name="elsewhere"), 800, ("elsewhere",)),
    "partition": (query_request(partition_names=["nowhere"]), 200, ("nowhere",)),
    "not loaded": (query_request(collection_name="not_loaded"), 101, ("not_loaded",)),
    "output field": (
        query_request(collection_name="auto_ids", output_fields=["color"]),
        1700,
        ("'color'",),
    ),
}


@pytest.mark.parametrize("case", QUERIES)
def test_queries(stub: Any, case: str) -> None:
    request, code, said = QUERIES[case]
    answer = stub.Query(request)
    assert answer.status.code == code, answer.status
    for words in said:
        assert words in answer.status.reason
    assert not answer.fields_data


FILTERS: dict[str, tuple[str, dict[str, Any], Said]] = {
    "nothing after an operator": ("i64 ==", {}, ("^",)),
    "unbalanced": ("(i64 == 1", {}, ("^",)),
    "unbalanced list": ("i64 in [1, 2", {}, ("^",)),
    "open text": ("text == 'a", {}, ("^",)),
    "a character": ("i64 # 1", {}, ("^",)),
    "two operators": ("i64 == == 1", {}, ("^",)),
    "text for a number": ("i64 == 'a'", {}, ("^", "i64")),
    "number for a text": ("text > 5", {}, ("^", "text")),
    "number for a bool": ("flag == 1", {}, ("^", "flag")),
    "mixed list": ("i64 in [1, 'a']", {}, ("^",)),
    "like of a number": ("i64 like 'a%'", {}, ("^", "i64")),
    "arithmetic of text": ("text + 1 == 2", {}, ("^", "text")),
    "vector": ("vector == 1", {}, ("^", "vector")),
    "whole array": ("tags == 'a'", {}, ("^", "tags")),
    "index of an array": ("tags['a'] == 'a'", {}, ("^", "tags")),
    "array_contains of a number": ("array_contains(i64, 1)", {}, ("^", "i64")),
    "array_length of a text": ("array_length(text) == 1", {}, ("^", "text")),
    "json_contains of a number": ("json_contains(i64, 1)", {}, ("^", "i64")),
    "unknown function": ("length(text) == 1", {}, ("^", "length")),
    "division by zero": ("i64 / 0 == 1", {}, ("^", "zero")),
    "integer too large": ("i64 == 99999999999999999999", {}, ("^", "99999999999999999999")),
    "no condition": ("i64 + 1", {}, ("^",)),
    "template missing": ("i64 == {x}", {}, ("x",)),
    "template of another type": ("i64 == {x}", {"x": "a"}, ("x",)),
    "template no list": ("i64 in {x}", {"x": 5}, ("x",)),
    "template list of another type": ("i64 in {x}", {"x": ["a"]}, ("x",)),
}


@pytest.mark.parametrize("case", FILTERS)
def test_filters(client: MilvusClient, refused: Any, case: str) -> None:
    text, templates, said = FILTERS[case]
    said = ("cannot parse expression", *said)
    refused(
        lambda: client.query("all_types", text, filter_params=templates, output_fields=["id"]),
        1100,
        *said,
    )
    refused(
        lambda: client.search("all_types", GOOD, text, limit=1, filter_params=templates),
        1100,
        *said,
    )
    refused(lambda: client.delete("all_types", filter=text, filter_params=templates), 1100, *said)


def test_an_unknown_field_without_a_dynamic_field(client: MilvusClient, refused: Any) -> None:
    refused(lambda: client.query("auto_ids", "color == 'red'"), 1100, "cannot parse", "color", "^")


UNSERVED: dict[str, Callable[[MilvusClient], Any]] = {
    "hybrid search": lambda client: client.hybrid_search(
        "all_types", [AnnSearchRequest(GOOD, "vector", {}, limit=2)], RRFRanker(), limit=2
    ),
    "search iterator": lambda client: client.search_iterator("all_types", GOOD, batch_size=2),
    "grouping": lambda client: client.search("all_types", GOOD, group_by_field="text", limit=1),
    "range search": lambda client: client.search(
        "all_types", GOOD, search_params={"params": {"radius": 1.0}}, limit=1
    ),
}


@pytest.mark.parametrize("case", UNSERVED)
def test_what_is_not_served(client: MilvusClient, case: str) -> None:
    with pytest.raises(MilvusException, match=r"not (served|implemented)") as caught:
        UNSERVED[case](client)
    assert caught.value.code in (10, 12)
