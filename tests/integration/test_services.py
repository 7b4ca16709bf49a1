"""The servers that other tests rely on keep their data, freeze, and leave nothing behind."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from mishards.testing.services.etcd import Etcd
from mishards.testing.services.mariadb import MariaDb
from mishards.testing.services.postgresql import PostgreSql
from mishards.testing.services.server import Server
from mishards.testing.services.zookeeper import ZooKeeper

FIXTURES = ["mariadb", "postgresql", "etcd", "zookeeper"]


@pytest.fixture(params=FIXTURES)
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(request.param)
    return found


def test_a_server_survives_being_stopped_killed_and_frozen(server: Server) -> None:
    port = server.port
    server.restart()
    assert server.answers()
    server.kill()
    assert not server.running
    assert not server.answers()
    server.start()
    server.freeze()
    assert server.running
    server.thaw()
    assert server.answers()
    assert server.port == port


@pytest.mark.parametrize("kind", [MariaDb, PostgreSql, Etcd, ZooKeeper])
def test_a_closed_server_leaves_no_process_and_no_file(
    kind: type[Server], request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue(kind.name.lower())  # skips where it is not installed
    with kind() as server:
        folder = server.folder
        assert server.answers()
    assert not server.running
    assert not folder.exists()
    marks = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not any(str(folder).encode() in mark for mark in marks)


def test_a_server_that_cannot_start_says_why(etcd: Etcd) -> None:
    second = Etcd()
    try:
        with (
            socket.create_server(("127.0.0.1", second.port)),
            pytest.raises(AssertionError, match="address already in use"),
        ):
            second.start()
    finally:
        second.close()
