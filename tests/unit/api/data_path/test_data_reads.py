"""Search and Query: requests made by pymilvus's own code, answers read by its own classes."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pymilvus.client import entity_helper
from pymilvus.client.prepare import Prepare
from pymilvus.client.search_result import SearchResult
from pymilvus.client.types import HybridExtraList
from pymilvus.client.utils import len_of
from pymilvus.grpc_gen import common_pb2, milvus_pb2, schema_pb2

from mishards.api.milvus.data import DATA_HANDLERS
from mishards.api.milvus.edge.protocol import EdgeCall
from mishards.api.milvus.searches_now import searches_now
from mishards.core.errors import (
    CollectionNotFound,
    InvalidParameter,
    MishardsError,
    MissingParameter,
    Unimplemented,
)
from mishards.core.ids import Timestamp
from mishards.core.schema import Metric
from mishards.metadata.models import ConsistencyLevel
from mishards.proxy.calls import Coverage, QueryAnswer, SearchAnswer

READ_TS = Timestamp(1 << 60)
COVERAGE = Coverage(
    segments=3,
    searched_segments=2,
    rows=400,
    searched_rows=300,
    growing=True,
    missing=("segment 7: bad",),
)
TOLD = {
    "partial": "true",
    "segments": "3",
    "searched_segments": "2",
    "rows": "400",
    "searched_rows": "300",
    "searched_growing": "true",
    "missing": "segment 7: bad",
}


def search_request(
    data: Any = ((1.0, 2.0, 3.0, 4.0),), param: Any = None, limit: int = 10, **options: Any
) -> Any:
    param = {"metric_type": "L2", "params": {"ef": 32}} if param is None else param
    rows = [list(vector) if isinstance(vector, tuple) else vector for vector in data]
    return Prepare.search_requests_with_expr("books", "vector", param, limit, data=rows, **options)


def answer(view: Any, counts: list[int], **parts: Any) -> SearchAnswer:
    hits = sum(counts)
    given: dict[str, Any] = {
        "keys": np.arange(hits, dtype=np.int64) + 100,
        "distances": np.linspace(0, 1, hits, dtype=np.float32),
        "columns": None,
        "output": (),
    }
    given.update(parts)
    return SearchAnswer(
        view=view, metric=Metric.L2, counts=np.array(counts, np.int32), read_ts=READ_TS, **given
    )


def search_now(proxy: Any, payload: bytes, database: str = "") -> bytes | None:
    (answer,) = searches_now(proxy, [EdgeCall(payload, database)])
    return answer


def refusal(proxy: Any, payload: bytes) -> Any:
    """The status of a search that is refused."""
    return milvus_pb2.SearchResults.FromString(search_now(proxy, payload) or b"").status


def found(proxy: Any, request: Any) -> SearchResult:
    """The search's answer as the client sees it; both ways of serving it must agree."""
    payload = request.SerializeToString()
    handler = DATA_HANDLERS["Search"]
    data = asyncio.run(handler.handle(proxy, handler.request.FromString(payload)))
    assert search_now(proxy, payload) == data
    assert proxy.calls[-1] == proxy.calls[-2]
    response = handler.response.FromString(data)
    assert (response.status.code, response.session_ts) == (0, READ_TS)
    return SearchResult(response.results, session_ts=response.session_ts)


def rows(proxy: Any, request: Any) -> list[dict[str, Any]]:
    """The query's rows as the client sees them."""
    handler = DATA_HANDLERS["Query"]
    received = handler.request.FromString(request.SerializeToString())
    response = handler.response.FromString(asyncio.run(handler.handle(proxy, received)))
    count = len_of(response.fields_data[0])
    assert {len_of(data) for data in response.fields_data} == {count}
    _, dynamic = entity_helper.extract_dynamic_field_from_result(response)
    entities: list[dict[str, Any]] = [{} for _ in range(count)]
    lazy = [
        data
        for data in response.fields_data
        if entity_helper.extract_row_data_from_fields_data_v2(data, entities)
    ]
    result = HybridExtraList(lazy, entities, extra={}, dynamic_fields=dynamic, strict_float32=False)
    return [dict(row) for row in result]


def query_request(expr: str = "id > 0", output: Any = (), **options: Any) -> Any:
    return Prepare.query_request("books", expr, list(output), [], **options)


def sent(proxy: Any, request: Any) -> Any:
    proxy.answer = answer(proxy.view, [0])
    found(proxy, request)
    return proxy.calls[-1]


def test_a_plain_search_arrives_whole(plain_proxy: Any) -> None:
    call = sent(
        plain_proxy,
        search_request(
            expr="id > {low}",
            partition_names=["p1", "p2"],
            output_fields=["id", "*"],
            expr_params={"low": 3},
            offset=5,
        ),
    )

    assert (call.collection, call.field, call.metric) == ("books", "vector", "L2")
    assert (call.nq, call.limit, call.offset) == (1, 10, 5)
    assert call.params == {"ef": 32}
    assert (call.filter, call.templates) == ("id > {low}", {"low": 3})
    assert (call.partitions, call.output) == (("p1", "p2"), ("id", "*"))
    assert np.frombuffer(call.queries, np.float32).tolist() == [1, 2, 3, 4]
    assert (call.consistency, call.ignore_growing) == (None, False)


@pytest.mark.parametrize(
    ("param", "params"),
    [
        ({"metric_type": "COSINE", "ef": 64}, {"ef": 64}),
        ({"metric_type": "COSINE", "params": {"nprobe": 8}}, {"nprobe": 8}),
        ({"metric_type": "COSINE", "params": {}}, {}),
        ({"metric_type": "COSINE", "ignore_growing": True, "offset": 2}, {}),
    ],
)
def test_parameters_may_be_flat_or_nested(plain_proxy: Any, param: Any, params: Any) -> None:
    call = sent(plain_proxy, search_request(param=param))

    assert (call.metric, call.params) == ("COSINE", params)
    assert call.ignore_growing is ("ignore_growing" in param)
    assert call.offset == param.get("offset", 0)


@pytest.mark.parametrize(
    ("param", "allowed"),
    [
        ({}, None),
        ({"allow_partial_results": True}, True),
        ({"allow_partial_results": "false"}, False),
        ({"params": {"allow_partial_results": True}}, True),
    ],
)
def test_a_search_says_whether_its_answer_may_be_partial(
    plain_proxy: Any, param: Any, allowed: bool | None
) -> None:
    call = sent(plain_proxy, search_request(param={"metric_type": "L2", **param}))
    assert (call.allow_partial, call.params) == (allowed, {})


def test_a_partial_answer_says_so_and_what_it_misses(plain_proxy: Any) -> None:
    plain_proxy.answer = answer(plain_proxy.view, [2, 1], coverage=COVERAGE)
    payload = search_request(data=[(1.0, 2.0, 3.0, 4.0)] * 2).SerializeToString()
    response = milvus_pb2.SearchResults.FromString(search_now(plain_proxy, payload) or b"")
    assert dict(response.status.extra_info) == TOLD
    assert (response.status.code, response.status.reason) == (0, "")
    result = SearchResult(response.results, status=response.status)
    assert result.recalls == [0.75, 0.75]
    plain_proxy.answer = answer(plain_proxy.view, [2, 1])
    response = milvus_pb2.SearchResults.FromString(search_now(plain_proxy, payload) or b"")
    assert not response.status.extra_info
    assert SearchResult(response.results, status=response.status).recalls is None


def test_a_partial_answer_of_a_query_says_so(proxy: Any) -> None:
    proxy.answer = QueryAnswer(
        view=proxy.view,
        columns=None,
        count=5,
        output=("count(*)",),
        read_ts=READ_TS,
        coverage=COVERAGE,
    )
    request = query_request(output=["count(*)"])
    request.query_params.add(key="allow_partial_results", value="true")
    response = milvus_pb2.QueryResults.FromString(
        asyncio.run(DATA_HANDLERS["Query"].handle(proxy, request))
    )
    assert dict(response.status.extra_info) == TOLD
    assert proxy.calls[-1].allow_partial
    asyncio.run(DATA_HANDLERS["Query"].handle(proxy, query_request()))
    assert not proxy.calls[-1].allow_partial


def test_many_queries_are_one_block(plain_proxy: Any) -> None:
    vectors = np.arange(12, dtype=np.float32).reshape(3, 4)
    call = sent(plain_proxy, search_request(data=list(vectors)))
    assert (call.nq, bytes(call.queries)) == (3, vectors.tobytes())


@pytest.mark.parametrize(
    ("options", "level", "guarantee"),
    [
        ({"guarantee_timestamp": 9}, None, 9),
        (
            {"use_default_consistency": False, "consistency_level": 1, "guarantee_timestamp": 9},
            ConsistencyLevel.SESSION,
            9,
        ),
        ({"use_default_consistency": False}, ConsistencyLevel.STRONG, 0),
        (
            {"use_default_consistency": False, "guarantee_timestamp": 1},
            ConsistencyLevel.EVENTUALLY,
            0,
        ),
        (
            {"use_default_consistency": False, "guarantee_timestamp": 2},
            ConsistencyLevel.BOUNDED,
            0,
        ),
        (
            {"use_default_consistency": False, "guarantee_timestamp": 99},
            ConsistencyLevel.CUSTOMIZED,
            99,
        ),
    ],
)
def test_consistency(plain_proxy: Any, options: Any, level: Any, guarantee: int) -> None:
    call = sent(plain_proxy, search_request(**options))
    assert (call.consistency, call.guarantee_ts) == (level, guarantee)


def test_database_of_the_connection_stands_in(plain_proxy: Any) -> None:
    plain_proxy.answer = answer(plain_proxy.view, [0])
    request = search_request()
    search_now(plain_proxy, request.SerializeToString(), "shop")
    request.db_name = "named"
    search_now(plain_proxy, request.SerializeToString(), "shop")
    assert [call.database for call in plain_proxy.calls] == ["shop", "named"]


def test_no_answer_at_once(plain_proxy: Any) -> None:
    assert search_now(plain_proxy, search_request().SerializeToString()) is None


def _with(name: str, value: str) -> Any:
    request = search_request()
    request.search_params.add(key=name, value=value)
    return request


def _changed(change: Any) -> Any:
    request = search_request()
    change(request)
    return request


def _placeholder(**parts: Any) -> Any:
    request = search_request()
    group = common_pb2.PlaceholderGroup()
    group.placeholders.add(**{"tag": "$0", "type": common_pb2.FloatVector, **parts})
    request.placeholder_group = group.SerializeToString()
    request.nq = len(parts.get("values", ()))
    return request


def _by_ids(request: Any) -> None:
    request.ids.int_id.data.append(1)


def _unknown_level(request: Any) -> None:
    request.use_default_consistency = False
    request.consistency_level = 9


def _without_limit(request: Any) -> None:
    kept = [p for p in request.search_params if p.key != "topk"]
    del request.search_params[:]
    request.search_params.extend(kept)


@pytest.mark.parametrize(
    ("request_", "error", "words"),
    [
        (_with("group_by_field", "id"), Unimplemented, ["group_by_field", "id"]),
        (_with("iterator", "True"), Unimplemented, ["iterator"]),
        (_with("search_iter_v2", "True"), Unimplemented, ["search_iter_v2"]),
        (_with("hints", "iterative_filter"), Unimplemented, ["hints"]),
        (_with("invented", "1"), Unimplemented, ["invented"]),
        (_with("topk", "3"), InvalidParameter, ["topk", "twice"]),
        (_with("offset", "x"), InvalidParameter, ["offset", "'x'"]),
        (search_request(param={"params": {"radius": 1}}), Unimplemented, ["radius"]),
        (search_request(param={"params": {"range_filter": 0.0}}), Unimplemented, ["range_filter"]),
        (search_request(round_decimal=7), InvalidParameter, ["round_decimal", "7"]),
        (search_request(page_retain_order=True), Unimplemented, ["page_retain_order"]),
        (_changed(_by_ids), Unimplemented, ["ids"]),
        (_changed(_without_limit), MissingParameter, ["topk"]),
        (_changed(lambda r: r.sub_reqs.add()), Unimplemented, ["sub_reqs"]),
        (_changed(lambda r: r.function_score.SetInParent()), Unimplemented, ["function_score"]),
        (_changed(lambda r: r.highlighter.SetInParent()), Unimplemented, ["highlighter"]),
        (_changed(lambda r: setattr(r, "nq", 2)), InvalidParameter, ["nq", "2"]),
        (_changed(lambda r: setattr(r, "placeholder_group", b"\xff")), InvalidParameter, []),
        (_changed(lambda r: setattr(r, "placeholder_group", b"")), MissingParameter, []),
        (_changed(_unknown_level), InvalidParameter, ["consistency_level", "9"]),
        (_placeholder(type=100, values=[b"1234"]), InvalidParameter, ["BinaryVector"]),
        (_placeholder(type=21, values=[b"text"]), InvalidParameter, ["VarChar"]),
        (_placeholder(values=[]), InvalidParameter, ["nq"]),
        (_placeholder(values=[b"12345"]), InvalidParameter, ["5 bytes"]),
        (_placeholder(values=[b"1234", b"12345678"]), InvalidParameter, ["[4, 8]"]),
        (search_request(data=[(1.0,) * 4, (1.0, math.nan, 1.0, 1.0)]), InvalidParameter, ["r 1 "]),
        (search_request(data=[(1.0, math.inf, 1.0, 1.0)]), InvalidParameter, ["vector 0 "]),
    ],
)
def test_what_is_not_served_is_refused_by_name(
    plain_proxy: Any, request_: Any, error: type[MishardsError], words: list[str]
) -> None:
    status = refusal(plain_proxy, request_.SerializeToString())
    assert status.code == error.code
    assert all(word in status.reason for word in words), status.reason
    assert plain_proxy.calls == []


def test_unused_options_of_other_clients_are_no_obstacle(plain_proxy: Any) -> None:
    request = search_request()
    for name, value in (("group_by_field", ""), ("iterator", "False"), ("nq", "1")):
        request.search_params.add(key=name, value=value)
    assert sent(plain_proxy, request).limit == 10


def test_bytes_that_are_no_request(plain_proxy: Any) -> None:
    status = refusal(plain_proxy, b"\xff\xff\xff")
    assert status.code == InvalidParameter.code
    assert "SearchRequest" in status.reason


def test_hits_come_query_by_query(plain_proxy: Any) -> None:
    plain_proxy.answer = answer(plain_proxy.view, [2, 0, 1])
    result = found(plain_proxy, search_request(data=[(0.0,) * 4] * 3))

    assert [[(hit["id"], hit["distance"]) for hit in hits] for hits in result] == [
        [(100, 0.0), (101, 0.5)],
        [],
        [(102, 1.0)],
    ]


def test_many_hits_and_text_keys(plain_proxy: Any) -> None:
    scores = np.linspace(0, 1, 400, dtype=np.float32)
    plain_proxy.answer = answer(
        plain_proxy.view, [100] * 4, keys=[f"k{i}" for i in range(400)], distances=scores
    )
    result = found(plain_proxy, search_request(data=[(0.0,) * 4] * 4))
    assert [hit["id"] for hits in result for hit in hits] == [f"k{i}" for i in range(400)]
    assert [hit["distance"] for hits in result for hit in hits] == scores.tolist()


def test_scores_are_rounded_on_request(plain_proxy: Any) -> None:
    plain_proxy.answer = answer(
        plain_proxy.view, [2], distances=np.array([0.12345, 2.0], np.float32)
    )
    result = found(plain_proxy, search_request(round_decimal=2))
    assert [hit["distance"] for hit in result[0]] == pytest.approx([0.12, 2.0], abs=1e-7)


EXPECTED = [
    {
        "id": key,
        "vector": [float(key), 1.0, 2.0, 3.0],
        "flag": key % 2 == 0,
        "tiny": -key,
        "small": 300 + key,
        "medium": 70_000 + key,
        "big": 1 << 40 | key,
        "single": 0.5 * key,
        "double": 0.1 * key,
        "title": None if key == 2 else f"title {key}",
        "details": None if key == 2 else {"k": key},
        "tags": ["a", "b"],
        "marks": None if key == 2 else [key, -1],
        "stars": 3,
        "second": None if key == 2 else [1.0, float(key)],
        "color": "red",
        "size": key,
    }
    for key in (1, 2, 3)
]


def test_output_fields_of_hits(proxy: Any, full_batch: pa.RecordBatch) -> None:
    names = tuple(full_batch.schema.names)
    proxy.answer = answer(proxy.view, [2, 1], columns=full_batch, output=names)

    result = found(proxy, search_request(data=[(0.0,) * 4] * 2, output_fields=["*"]))

    assert [dict(hit["entity"]) for hits in result for hit in hits] == EXPECTED


def test_output_of_dynamic_keys_only(proxy: Any, full_batch: pa.RecordBatch) -> None:
    columns = full_batch.select(["$meta"])
    proxy.answer = answer(proxy.view, [3], columns=columns, output=("color",))

    result = found(proxy, search_request(output_fields=["color"]))

    assert [dict(hit["entity"]) for hit in result[0]] == [{"color": "red"}] * 3


def test_rows_of_a_query(proxy: Any, full_batch: pa.RecordBatch) -> None:
    proxy.answer = QueryAnswer(
        view=proxy.view,
        columns=full_batch,
        count=None,
        output=tuple(full_batch.schema.names),
        read_ts=READ_TS,
    )
    assert rows(proxy, query_request(output=["*"])) == EXPECTED


def test_a_slice_of_rows_encodes_like_the_rows(proxy: Any, full_batch: pa.RecordBatch) -> None:
    proxy.answer = QueryAnswer(
        view=proxy.view,
        columns=full_batch.slice(1, 2),
        count=None,
        output=tuple(full_batch.schema.names),
        read_ts=READ_TS,
    )
    assert rows(proxy, query_request(output=["*"])) == EXPECTED[1:]


def test_no_rows_still_say_their_fields(proxy: Any, full_batch: pa.RecordBatch) -> None:
    proxy.answer = QueryAnswer(
        view=proxy.view,
        columns=full_batch.slice(0, 0),
        count=None,
        output=("id",),
        read_ts=READ_TS,
    )
    assert rows(proxy, query_request()) == []


def test_count(proxy: Any) -> None:
    proxy.answer = QueryAnswer(
        view=proxy.view, columns=None, count=42, output=("count(*)",), read_ts=READ_TS
    )
    assert rows(proxy, query_request("", ["count(*)"])) == [{"count(*)": 42}]
    assert proxy.calls[-1].output == ("count(*)",)


def queried(proxy: Any, request: Any) -> Any:
    proxy.answer = QueryAnswer(
        view=proxy.view, columns=None, count=0, output=("count(*)",), read_ts=READ_TS
    )
    rows(proxy, request)
    return proxy.calls[-1]


def test_a_query_arrives_whole(proxy: Any) -> None:
    request = query_request(
        "id in {ids}", ["id"], limit=5, offset=2, ignore_growing=True, expr_params={"ids": [1]}
    )
    call = queried(proxy, request)
    assert (call.filter, call.templates, call.output) == ("id in {ids}", {"ids": [1]}, ("id",))
    assert (call.limit, call.offset, call.ignore_growing) == (5, 2, True)
    assert queried(proxy, query_request()).limit == 0
    assert queried(proxy, query_request(limit=-1)).limit == 0


def test_pages_of_an_iterator_see_the_state_of_the_first(proxy: Any) -> None:
    options = {
        "iterator": "True",
        "collection_id": int(proxy.view.id),
        "reduce_stop_for_best": "True",
        "limit": 100,
        "guarantee_timestamp": 500,
    }
    call = queried(proxy, query_request(**options))
    assert call.as_of == 500
    assert queried(proxy, query_request(**{**options, "guarantee_timestamp": 0})).as_of == 0
    assert queried(proxy, query_request(**{**options, "iterator": "False"})).as_of == 0
    with pytest.raises(CollectionNotFound, match="8"):
        queried(proxy, query_request(**{**options, "collection_id": 8}))


@pytest.mark.parametrize(
    ("request_", "error", "words"),
    [
        (query_request(limit=0), InvalidParameter, ["limit", "0"]),
        (query_request(limit="many"), InvalidParameter, ["limit", "many"]),
        (query_request(output=["count(*)"], limit=1), InvalidParameter, ["count(*)"]),
        (query_request(output=["count(*)", "id"]), InvalidParameter, ["count(*)", "id"]),
        (query_request(group_by_fields=["id"]), Unimplemented, ["group_by_fields"]),
        (query_request(order_by="id"), Unimplemented, ["order_by_fields"]),
        (query_request(timezone="UTC"), Unimplemented, ["timezone"]),
        (query_request(query_iter_last_pk=1), Unimplemented, ["query_iter_last_pk"]),
        (query_request(namespace="n"), Unimplemented, ["namespace"]),
    ],
)
def test_refused_queries(
    proxy: Any, request_: Any, error: type[MishardsError], words: list[str]
) -> None:
    with pytest.raises(error) as caught:
        queried(proxy, request_)

    assert all(word in caught.value.message for word in words), caught.value.message
    assert proxy.calls == []


def test_template_values_of_every_kind(proxy: Any) -> None:
    values = {
        "flag": True,
        "whole": 1 << 40,
        "real": 0.5,
        "text": "é",
        "flags": [True, False],
        "reals": [0.5, 1.5],
        "texts": ["a"],
        "none": [],
        "mixed": [1, {"a": 2}],
    }
    assert queried(proxy, query_request(expr_params=values)).templates == values


def test_templates_without_value_or_with_bad_json_are_refused(proxy: Any) -> None:
    request = query_request()
    request.expr_template_values["x"].SetInParent()
    with pytest.raises(InvalidParameter, match="'x'"):
        queried(proxy, request)
    request.expr_template_values["x"].array_val.json_data.data.append(b"{")
    with pytest.raises(InvalidParameter, match="'x'"):
        queried(proxy, request)


def test_hybrid_search_has_no_handler() -> None:
    assert sorted(DATA_HANDLERS) == ["Delete", "Insert", "Query", "Search", "Upsert"]
    assert DATA_HANDLERS["Query"].response is milvus_pb2.QueryResults
    assert schema_pb2.FloatVector == common_pb2.FloatVector
