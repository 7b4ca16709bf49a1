"""Connecting, versions, health and timestamps."""

from __future__ import annotations

import time

import grpc
import pytest
from pymilvus import MilvusClient, MilvusException, connections, utility
from pymilvus.grpc_gen import milvus_pb2, milvus_pb2_grpc

pytestmark = pytest.mark.on_cluster


def test_versions_and_server_type(client: MilvusClient, using: str) -> None:
    version = client.get_server_version()
    assert version
    assert utility.get_server_version(using=using) == version
    assert client.get_server_type() == "milvus"


def test_a_connection_by_host_and_port(uri: str) -> None:
    host, _, port = uri.removeprefix("http://").rpartition(":")
    connections.connect("by-host", host=host, port=port)
    try:
        assert connections.has_connection("by-host")
        assert isinstance(utility.list_collections(using="by-host"), list)
    finally:
        connections.disconnect("by-host")
    assert not connections.has_connection("by-host")


def test_a_client_of_an_unknown_database_is_refused(uri: str) -> None:
    with pytest.raises(MilvusException, match="no_such_database") as caught:
        MilvusClient(uri, db_name="no_such_database").list_collections()
    assert caught.value.code == 800


def test_a_client_of_a_database(uri: str, database: str) -> None:
    client = MilvusClient(uri, db_name=database)
    try:
        client.create_collection("inside", dimension=2)
        assert client.list_collections() == ["inside"]
    finally:
        client.close()


def test_health_and_timestamps(uri: str) -> None:
    with grpc.insecure_channel(uri.removeprefix("http://")) as channel:
        stub = milvus_pb2_grpc.MilvusServiceStub(channel)
        health = stub.CheckHealth(milvus_pb2.CheckHealthRequest())
        assert health.isHealthy
        assert not health.reasons
        stamps = [
            stub.AllocTimestamp(milvus_pb2.AllocTimestampRequest()).timestamp for _ in range(3)
        ]
        assert stamps == sorted(set(stamps))
        assert utility.hybridts_to_unixtime(stamps[0]) == pytest.approx(time.time(), abs=5)


def test_a_timestamp_is_made_of_a_time() -> None:
    stamp = utility.mkts_from_unixtime(1_700_000_000.0)
    assert utility.hybridts_to_unixtime(stamp) == 1_700_000_000.0
