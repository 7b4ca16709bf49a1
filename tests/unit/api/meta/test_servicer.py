"""The method table: every method answers, served or not; databases; broken bytes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from google.protobuf.message_factory import GetMessageClass
from pymilvus.grpc_gen import common_pb2, milvus_pb2

from mishards.api.milvus.edge.protocol import UNIMPLEMENTED, EdgeCall, GrpcFailure
from mishards.api.milvus.servicer import HANDLERS, SEARCH, MilvusServicer
from mishards.api.milvus.status import status_field

METHODS = milvus_pb2.DESCRIPTOR.services_by_name["MilvusService"].methods
UNARY = [m for m in METHODS if not m.client_streaming and not m.server_streaming]
UNSERVED = [m for m in UNARY if m.name not in HANDLERS]


def status_in(response: Any) -> Any:
    name = status_field(type(response))
    return getattr(response, name) if name else response


def test_every_handler_is_for_a_method_of_the_service_with_its_types() -> None:
    by_name = {method.name: method for method in UNARY}
    for name, handler in HANDLERS.items():
        method = by_name[name]
        assert handler.request.DESCRIPTOR is method.input_type, name
        assert handler.response.DESCRIPTOR is method.output_type, name


@pytest.mark.parametrize("method", UNSERVED, ids=lambda m: m.name)
def test_what_is_not_served_says_so_by_name(method: Any, call: Any) -> None:
    request, response = GetMessageClass(method.input_type)(), GetMessageClass(method.output_type)
    if status_field(response) is None:
        with pytest.raises(GrpcFailure, match=method.name) as caught:
            call(method.name, request, response)
        assert caught.value.code == UNIMPLEMENTED
        return
    status = status_in(call(method.name, request, response))
    assert status.code == 10
    assert f"method {method.name} is not implemented" in status.reason


@pytest.mark.parametrize("name", sorted(HANDLERS))
def test_an_empty_request_never_crashes_a_handler(name: str, call: Any) -> None:
    handler = HANDLERS[name]
    status = status_in(call(name, handler.request(), handler.response))
    assert status.code != 5, status.reason


@pytest.mark.parametrize("name", sorted(HANDLERS))
def test_broken_bytes_are_an_invalid_parameter(name: str, call: Any) -> None:
    work = call.servicer.call(f"/milvus.proto.milvus.MilvusService/{name}", b"\x0a\xff\x01", "")
    status = status_in(HANDLERS[name].response.FromString(asyncio.run(work)))
    assert status.code == 1100
    assert HANDLERS[name].request.DESCRIPTOR.name in status.reason


@pytest.mark.parametrize("length", [3, 127, 128, 255])
def test_the_database_of_the_metadata_counts_where_the_request_names_none(
    call: Any, length: int
) -> None:
    name = "d" * length
    request = milvus_pb2.CreateDatabaseRequest(db_name=name)
    assert call("CreateDatabase", request, common_pb2.Status).code == 0
    answer = milvus_pb2.DescribeDatabaseResponse
    request = milvus_pb2.DescribeDatabaseRequest()
    assert call("DescribeDatabase", request, answer, name).db_name == name
    request = milvus_pb2.DescribeDatabaseRequest(db_name="default")
    assert call("DescribeDatabase", request, answer, name).db_name == "default"
    assert call("DescribeDatabase", milvus_pb2.DescribeDatabaseRequest(), answer).db_name == (
        "default"
    )


def test_requests_that_write_their_database_otherwise_get_it_too(call: Any) -> None:
    answer = call(
        "GetPersistentSegmentInfo",
        milvus_pb2.GetPersistentSegmentInfoRequest(collectionName="c"),
        milvus_pb2.GetPersistentSegmentInfoResponse,
        "nowhere",
    )
    assert (answer.status.code, "nowhere" in answer.status.reason) == (800, True)


def test_only_search_may_be_answered_at_once_and_only_when_asked_for(
    proxy: Any, health: Any
) -> None:
    assert MilvusServicer(proxy, health).inline == ()
    table = MilvusServicer(proxy, health, inline=True)
    assert table.inline == (SEARCH,)
    assert table.calls_now("/milvus.proto.milvus.MilvusService/Query", [EdgeCall(b"")]) == [None]
    (refused,) = table.calls_now(SEARCH, [EdgeCall(b"\x0a\xff\x01")])
    assert refused is not None
    assert milvus_pb2.SearchResults.FromString(refused).status.code == 1100
