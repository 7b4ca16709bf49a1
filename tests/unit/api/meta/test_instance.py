"""Segments, flushing and the instance itself through the service."""

from __future__ import annotations

from typing import Any

from pymilvus.client.prepare import Prepare
from pymilvus.grpc_gen import common_pb2, milvus_pb2

Status = common_pb2.Status


def test_segments_on_storage_are_listed_by_state(call: Any, proxy: Any, books: Any) -> None:
    proxy.put_segment(books(), 11, 50)
    answer = milvus_pb2.GetPersistentSegmentInfoResponse
    for states, count in (((), 1), ((common_pb2.Flushed,), 1), ((common_pb2.Growing,), 0)):
        request = milvus_pb2.GetPersistentSegmentInfoRequest(collectionName="books", states=states)
        assert len(call("GetPersistentSegmentInfo", request, answer).infos) == count


def test_a_flush_answers_what_pymilvus_waits_for(call: Any, proxy: Any, books: Any) -> None:
    answer = call("Flush", Prepare.flush_param(["books"]), milvus_pb2.FlushResponse)
    assert list(answer.coll_segIDs["books"].data) == [5]
    timestamp = answer.coll_flush_ts["books"]
    request = Prepare.get_flush_state_request([5], "books", timestamp)
    state = call("GetFlushState", request, milvus_pb2.GetFlushStateResponse)
    assert state.flushed is True
    empty = call("Flush", milvus_pb2.FlushRequest(), milvus_pb2.FlushResponse)
    assert empty.status.code == 1101


def test_flush_all_takes_every_database_or_those_named(call: Any, proxy: Any, books: Any) -> None:
    make = milvus_pb2.CreateDatabaseRequest(db_name="lib")
    call("CreateDatabase", make, Status)
    answer = call("FlushAll", milvus_pb2.FlushAllRequest(), milvus_pb2.FlushAllResponse)
    assert proxy.messages[-1] == ("default", ("books",))
    assert answer.flush_results[0].collection_results[0].collection_name == "books"
    assert answer.flush_all_ts
    flushed = len(proxy.messages)
    other = milvus_pb2.FlushAllRequest(db_name="lib")
    assert call("FlushAll", other, milvus_pb2.FlushAllResponse).flush_all_ts
    assert len(proxy.messages) == flushed
    missing = milvus_pb2.FlushAllRequest(db_name="none")
    assert call("FlushAll", missing, milvus_pb2.FlushAllResponse).status.code == 800
    state = call(
        "GetFlushAllState",
        milvus_pb2.GetFlushAllStateRequest(),
        milvus_pb2.GetFlushAllStateResponse,
    )
    assert state.flushed is True


def test_the_instance_tells_of_itself(call: Any, proxy: Any) -> None:
    answer = call("Connect", milvus_pb2.ConnectRequest(), milvus_pb2.ConnectResponse)
    assert answer.server_info.build_tags.startswith("mishards-")
    assert answer.identifier
    version = call("GetVersion", milvus_pb2.GetVersionRequest(), milvus_pb2.GetVersionResponse)
    assert version.version == answer.server_info.build_tags
    stamp = call(
        "AllocTimestamp",
        milvus_pb2.AllocTimestampRequest(),
        milvus_pb2.AllocTimestampResponse,
    )
    assert stamp.timestamp
    states = call(
        "GetComponentStates",
        milvus_pb2.GetComponentStatesRequest(),
        milvus_pb2.ComponentStates,
    )
    assert {part.role for part in states.subcomponent_states} == {"writer", "reader"}


def test_health_needs_a_writer_and_a_reader(call: Any, proxy: Any) -> None:
    request, answer = milvus_pb2.CheckHealthRequest(), milvus_pb2.CheckHealthResponse
    assert call("CheckHealth", request, answer).isHealthy is True
    proxy.roles = ("reader",)
    found = call("CheckHealth", request, answer)
    assert (found.isHealthy, list(found.reasons)) == (False, ["no writer answers"])
