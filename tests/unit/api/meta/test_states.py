"""Partitions, aliases, indexes and loading through the service."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pymilvus.client.prepare import Prepare
from pymilvus.grpc_gen import common_pb2, milvus_pb2

from mishards.api.milvus.loading import node_number
from mishards.core.ids import LogId
from mishards.metadata.models import LogMeta, SegmentIndex

Status = common_pb2.Status


def create_index(call: Any, field: str = "v", **params: Any) -> Any:
    return call("CreateIndex", Prepare.create_index_request("books", field, params), Status)


def describe_index(call: Any, name: str = "") -> Any:
    request = milvus_pb2.DescribeIndexRequest(collection_name="books", index_name=name)
    return call("DescribeIndex", request, milvus_pb2.DescribeIndexResponse)


def load(call: Any, **request: Any) -> Any:
    return call(
        "LoadCollection",
        milvus_pb2.LoadCollectionRequest(collection_name="books", **request),
        Status,
    )


def load_state(call: Any, name: str = "books", *partitions: str) -> int:
    request = milvus_pb2.GetLoadStateRequest(collection_name=name, partition_names=partitions)
    return call("GetLoadState", request, milvus_pb2.GetLoadStateResponse).state  # type: ignore[no-any-return]


def test_partitions_come_and_go(call: Any, proxy: Any, books: Any) -> None:
    names = {"collection_name": "books", "partition_name": "may"}
    has = milvus_pb2.HasPartitionRequest(**names)
    assert call("HasPartition", has, milvus_pb2.BoolResponse).value is False
    assert call("CreatePartition", milvus_pb2.CreatePartitionRequest(**names), Status).code == 0
    assert call("HasPartition", has, milvus_pb2.BoolResponse).value is True
    show = milvus_pb2.ShowPartitionsRequest(collection_name="books")
    shown = call("ShowPartitions", show, milvus_pb2.ShowPartitionsResponse)
    assert list(shown.partition_names) == ["_default", "may"]
    proxy.rows = 3
    stats = milvus_pb2.GetPartitionStatisticsRequest(**names)
    answer = call("GetPartitionStatistics", stats, milvus_pb2.GetPartitionStatisticsResponse)
    assert answer.stats[0].value == "3"
    assert call("DropPartition", milvus_pb2.DropPartitionRequest(**names), Status).code == 0
    answer = call("GetPartitionStatistics", stats, milvus_pb2.GetPartitionStatisticsResponse)
    assert answer.status.code == 200


def test_aliases_are_described_and_listed(call: Any, books: Any) -> None:
    make = milvus_pb2.CreateAliasRequest(collection_name="books", alias="now")
    assert call("CreateAlias", make, Status).code == 0
    described = call(
        "DescribeAlias",
        milvus_pb2.DescribeAliasRequest(alias="now"),
        milvus_pb2.DescribeAliasResponse,
    )
    assert (described.collection, described.alias, described.db_name) == ("books", "now", "default")
    for request in (
        milvus_pb2.ListAliasesRequest(),
        milvus_pb2.ListAliasesRequest(collection_name="books"),
    ):
        answer = call("ListAliases", request, milvus_pb2.ListAliasesResponse)
        assert list(answer.aliases) == ["now"]
    alter = milvus_pb2.AlterAliasRequest(collection_name="books", alias="now")
    assert call("AlterAlias", alter, Status).code == 0
    assert call("DropAlias", milvus_pb2.DropAliasRequest(alias="now"), Status).code == 0
    request = milvus_pb2.DescribeAliasRequest(alias="books")
    missing = call("DescribeAlias", request, milvus_pb2.DescribeAliasResponse)
    assert missing.status.code == 1600


def test_index_parameters_are_taken_from_every_level(call: Any, proxy: Any, books: Any) -> None:
    status = create_index(
        call,
        index_type="HNSW",
        metric_type="L2",
        params={"M": 8, "efConstruction": "40", "mmap.enabled": True},
    )
    assert status.code == 0, status.reason
    assert proxy.messages[-1].params == {
        "index_type": "HNSW",
        "metric_type": "L2",
        "M": "8",
        "efConstruction": "40",
    }


@pytest.mark.parametrize(
    "form", [{"params": {"M": 8, "efConstruction": 40}}, {"M": "8", "efConstruction": "40"}, {}]
)
def test_an_index_is_described_in_the_form_that_the_client_chose(
    call: Any, books: Any, form: dict[str, Any]
) -> None:
    create_index(call, index_type="HNSW", metric_type="L2", **form)
    (index,) = describe_index(call).index_descriptions
    assert (index.index_name, index.field_name) == ("v", "v")
    found = {pair.key: pair.value for pair in index.params}
    if "params" in found:
        found["params"] = json.loads(found["params"])
    assert found == {"index_type": "HNSW", "metric_type": "L2", **form}


def test_an_automatic_index_shows_no_parameters_of_its_own(call: Any, books: Any) -> None:
    assert create_index(call).code == 0
    assert create_index(call).code == 0
    (index,) = describe_index(call, "v").index_descriptions
    found = {pair.key: pair.value for pair in index.params}
    assert found == {"index_type": "AUTOINDEX", "metric_type": "COSINE"}


@pytest.mark.parametrize("text", ["{", "[1]", "3"])
def test_index_parameters_must_be_a_json_object(call: Any, books: Any, text: str) -> None:
    status = create_index(call, index_type="HNSW", params=text)
    assert (status.code, text in status.reason) == (1100, True)


def test_a_missing_index_is_told_as_milvus_does_and_dropping_it_succeeds(
    call: Any, books: Any
) -> None:
    status = describe_index(call).status
    assert (status.code, status.error_code) == (700, common_pb2.IndexNotExist)
    drop = milvus_pb2.DropIndexRequest(collection_name="books", index_name="v")
    assert call("DropIndex", drop, Status).code == 0


def test_an_index_is_finished_when_all_its_segments_are_built(
    call: Any, proxy: Any, books: Any
) -> None:
    proxy.put(LogMeta(id=LogId(0), build_min_rows=11))
    create_index(call, index_type="HNSW")
    index_id = books().meta.indexes[0].id
    built = SegmentIndex(index_id=index_id, field="v", name="v.index", size_bytes=1, checksum=1)
    proxy.put_segment(books(), 1, 2000, indexes=(built,))
    proxy.put_segment(books(), 2, 3000)
    proxy.put_segment(books(), 3, 10)
    (index,) = describe_index(call).index_descriptions
    assert (index.total_rows, index.indexed_rows, index.pending_index_rows) == (5010, 2010, 3000)
    assert index.state == common_pb2.InProgress
    names = {"collection_name": "books", "index_name": "v"}
    progress = call(
        "GetIndexBuildProgress",
        milvus_pb2.GetIndexBuildProgressRequest(**names),
        milvus_pb2.GetIndexBuildProgressResponse,
    )
    assert (progress.indexed_rows, progress.total_rows) == (2010, 5010)
    proxy.put_segment(books(), 2, 3000, indexes=(built,))
    state = call(
        "GetIndexState",
        milvus_pb2.GetIndexStateRequest(**names),
        milvus_pb2.GetIndexStateResponse,
    )
    assert state.state == common_pb2.Finished
    statistics = call(
        "GetIndexStatistics",
        milvus_pb2.GetIndexStatisticsRequest(**names),
        milvus_pb2.GetIndexStatisticsResponse,
    )
    assert statistics.index_descriptions[0].indexed_rows == 5010


def test_an_index_without_files_is_always_finished(call: Any, proxy: Any, books: Any) -> None:
    create_index(call, index_type="FLAT", metric_type="IP")
    proxy.put_segment(books(), 1, 5000)
    (index,) = describe_index(call).index_descriptions
    assert (index.indexed_rows, index.state) == (5000, common_pb2.Finished)


def test_load_states_follow_loading_and_releasing(call: Any, proxy: Any, books: Any) -> None:
    assert load_state(call, "none") == common_pb2.LoadStateNotExist
    assert load_state(call) == common_pb2.LoadStateNotLoad
    assert load(call).code == 700
    create_index(call)
    assert load(call).code == 0
    proxy.progress = 40
    assert load_state(call) == common_pb2.LoadStateLoading
    request = milvus_pb2.GetLoadingProgressRequest(collection_name="books")
    answer = call("GetLoadingProgress", request, milvus_pb2.GetLoadingProgressResponse)
    assert (answer.progress, answer.refresh_progress) == (40, 40)
    in_memory = milvus_pb2.ShowCollectionsRequest(type=milvus_pb2.InMemory)
    shown = call("ShowCollections", in_memory, milvus_pb2.ShowCollectionsResponse)
    assert list(shown.inMemory_percentages) == [40]
    proxy.progress = 100
    assert load_state(call, "books", "_default") == common_pb2.LoadStateLoaded
    release = milvus_pb2.ReleaseCollectionRequest(collection_name="books")
    assert call("ReleaseCollection", release, Status).code == 0
    assert load_state(call) == common_pb2.LoadStateNotLoad
    answer = call("GetLoadingProgress", request, milvus_pb2.GetLoadingProgressResponse)
    assert answer.status.code == 101
    shown = call("ShowCollections", in_memory, milvus_pb2.ShowCollectionsResponse)
    assert not shown.collection_names


def test_partitions_are_loaded_and_released_by_name(call: Any, books: Any) -> None:
    create_index(call)
    names = {"collection_name": "books", "partition_name": "may"}
    call("CreatePartition", milvus_pb2.CreatePartitionRequest(**names), Status)
    some = {"collection_name": "books", "partition_names": ["may"]}
    assert call("LoadPartitions", milvus_pb2.LoadPartitionsRequest(**some), Status).code == 0
    assert load_state(call, "books", "may") == common_pb2.LoadStateLoaded
    assert load_state(call, "books", "_default") == common_pb2.LoadStateNotLoad
    request = milvus_pb2.GetLoadingProgressRequest(
        collection_name="books", partition_names=["may", "_default"]
    )
    answer = call("GetLoadingProgress", request, milvus_pb2.GetLoadingProgressResponse)
    assert (answer.status.code, "_default" in answer.status.reason) == (201, True)
    none = milvus_pb2.ReleasePartitionsRequest(collection_name="books")
    assert call("ReleasePartitions", none, Status).code == 1101
    assert load_state(call, "books", "may") == common_pb2.LoadStateLoaded
    assert call("ReleasePartitions", milvus_pb2.ReleasePartitionsRequest(**some), Status).code == 0
    assert load_state(call, "books", "may") == common_pb2.LoadStateNotLoad


def test_the_replica_number_stays_where_none_is_named(call: Any, proxy: Any, books: Any) -> None:
    create_index(call)
    assert load(call, replica_number=2).code == 0
    assert load(call).code == 0
    assert proxy.messages[-1].replica_number == 2
    assert load(call, resource_groups=["gold"]).code == 10


def test_replicas_and_served_segments_name_the_same_nodes(
    call: Any, proxy: Any, books: Any
) -> None:
    request = milvus_pb2.GetReplicasRequest(collectionID=books().id)
    assert call("GetReplicas", request, milvus_pb2.GetReplicasResponse).status.code == 101
    create_index(call)
    load(call)
    proxy.put_segment(books(), 11, 50)
    (replica,) = call("GetReplicas", request, milvus_pb2.GetReplicasResponse).replicas
    assert list(replica.node_ids) == [node_number("reader-1")]
    assert replica.shard_replicas[0].leader_addr == "reader-1"
    segments = milvus_pb2.GetQuerySegmentInfoRequest(collectionName="books")
    (served,) = call("GetQuerySegmentInfo", segments, milvus_pb2.GetQuerySegmentInfoResponse).infos
    assert (served.segmentID, served.num_rows) == (11, 50)
    assert list(served.nodeIds) == [node_number("reader-1")]
