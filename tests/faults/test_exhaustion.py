"""No space, no metadata, too much at once: clear errors, and searches go on."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import grpc
import pytest
from pymilvus import MilvusClient, MilvusException

import mishards
from mishards.core.errors import MishardsError
from mishards.testing.client_rows import (
    connected,
    contents,
    create,
    insert,
    nearest,
    query_of,
    row,
    true_nearest,
    vector_of,
)
from mishards.testing.disk import no_space
from mishards.testing.local_cluster import wait_for

KEYS = list(range(120))
LONGER_THAN_A_HEARTBEAT_S = 4.0
"""A node that did not renew its registration for three seconds counts as gone."""


def fill(client: MilvusClient) -> None:
    """Sealed and growing rows."""
    create(client, "rows")
    insert(client, "rows", KEYS[:100])
    client.flush("rows")
    insert(client, "rows", KEYS[100:])
    check(client)


def check(client: MilvusClient) -> None:
    for number in range(3):
        query = query_of(number)
        for level in ("Strong", "Bounded"):
            found = nearest(client, "rows", query, consistency_level=level, timeout=10)
            assert found == true_nearest(KEYS, query)


def check_for_a_while(client: MilvusClient) -> None:
    end = time.monotonic() + LONGER_THAN_A_HEARTBEAT_S
    while time.monotonic() < end:
        check(client)


def test_a_full_disk_refuses_writes_and_serves_searches(small_disk: Path) -> None:
    with mishards.start(small_disk / "data") as server, connected(server.uri) as client:
        fill(client)
        with no_space(small_disk):
            for _ in range(3):
                with pytest.raises(MilvusException) as caught:
                    client.insert("rows", [row(1000)], timeout=20)
                assert "no space left" in caught.value.message
                check(client)
            with pytest.raises(MilvusException):
                client.flush("rows", timeout=20)
            check_for_a_while(client)
        wait_for(lambda: _inserted(client, 2000), "writes go on")
        client.delete("rows", ids=[2000])
        client.flush("rows", timeout=20)
        check(client)
        assert contents(client, "rows") == dict.fromkeys(KEYS, 0)
    with mishards.start(small_disk / "data") as server, connected(server.uri) as client:
        assert contents(client, "rows") == dict.fromkeys(KEYS, 0)


def _inserted(client: MilvusClient, key: int) -> bool:
    try:
        client.insert("rows", [row(key)], timeout=20)
    except MilvusException:
        return False
    return True


def test_a_full_disk_at_the_start_is_a_clear_error(small_disk: Path) -> None:
    with no_space(small_disk), pytest.raises(MishardsError) as caught:
        mishards.start(small_disk / "data")
    assert "full" in caught.value.message or "space" in caught.value.message
    with mishards.start(small_disk / "data") as server, connected(server.uri) as client:
        assert client.list_collections() == []


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Another connection holds the database for itself."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")


def test_with_the_metadata_locked_searches_and_writes_go_on(tmp_path: Path) -> None:
    with mishards.start(tmp_path) as server, connected(server.uri) as client:
        fill(client)
        with locked(tmp_path / "metadata.db"):
            began = time.monotonic()
            with pytest.raises(MilvusException) as caught:
                client.create_partition("rows", "late", timeout=30)
            assert caught.value.code == 2, "the code of what can be retried"
            assert "locked" in caught.value.message
            assert time.monotonic() - began < 15
            check_for_a_while(client)
            insert(client, "rows", [5000])
            client.delete("rows", ids=[5000])
            check(client)
        client.create_partition("rows", "late")
        assert "late" in client.list_partitions("rows")
        client.flush("rows", timeout=20)
        assert contents(client, "rows") == dict.fromkeys(KEYS, 0)


def test_a_message_over_the_limit_is_refused(tmp_path: Path) -> None:
    limit = 1024 * 1024
    for edge in ("native", "grpcio"):
        options = {"proxy__max_message_bytes": limit, "proxy__edge": edge}
        with (
            mishards.start(tmp_path / edge, **options) as server,
            connected(server.uri) as client,
        ):
            fill(client)
            big = [row(1000 + n) | {"name": "x" * 60} for n in range(10_000)]
            with pytest.raises((MilvusException, grpc.RpcError), match=r"(?i)larger|max"):
                client.insert("rows", big, timeout=10)
            check(client)
            assert contents(client, "rows") == dict.fromkeys(KEYS, 0)
            insert(client, "rows", [1])
            assert nearest(client, "rows", vector_of(1), limit=1) == [1]
