"""Bytes of no protocol, half messages and idle connections: the server is unharmed."""

from __future__ import annotations

import logging
import random
import socket
import threading
from collections.abc import Iterator

import pytest
from pymilvus import MilvusClient, MilvusException

import mishards
from mishards.server.config import load_config
from mishards.server.run import run_to_end
from mishards.server.status import cluster_report
from mishards.testing.client_rows import connected, contents, create, insert

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[mishards.EmbeddedServer]:
    with mishards.start(tmp_path_factory.mktemp("data"), node__listen="tcp://127.0.0.1:0") as found:
        with connected(found.uri) as client:
            create(client, "rows")
            insert(client, "rows", range(10))
        yield found


def ports(server: mishards.EmbeddedServer) -> dict[str, int]:
    """Of the Milvus API and of the internal protocol."""
    found = {}

    async def ask() -> None:
        config = load_config(options={"cluster.data": server.data}, environ={}).config
        (node,) = (await cluster_report(config)).nodes
        found["internal"] = int(node.address.rpartition(":")[2])

    run_to_end(ask())
    return found | {"milvus": int(server.uri.rpartition(":")[2])}


def rubbish(seed: int) -> list[bytes]:
    """What may come: nothing, noise, other protocols, great lengths, half a message."""
    chance = random.Random(seed)
    return [
        b"",
        b"\0",
        chance.randbytes(10),
        chance.randbytes(100_000),
        b"\xff" * 5_000,
        b"\0" * 5_000,
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + chance.randbytes(200),
        PREFACE,
        PREFACE + chance.randbytes(1_000),
        PREFACE + b"\0\0\0\4\0\0\0\0\0" + b"\xff\xff\xff\1\5\0\0\0\1" + chance.randbytes(1_000),
        (2**31 - 1).to_bytes(4, "little") + chance.randbytes(50),
        (2**31 - 1).to_bytes(4, "big") + chance.randbytes(50),
    ]


@pytest.mark.parametrize("port", ["milvus", "internal"])
def test_rubbish_harms_nobody(
    server: mishards.EmbeddedServer, port: str, caplog: pytest.LogCaptureFixture
) -> None:
    number = ports(server)[port]
    with connected(server.uri) as client:
        idle = [socket.create_connection(("127.0.0.1", number)) for _ in range(20)]
        try:
            for data in [data for seed in range(3) for data in rubbish(seed)]:
                send(number, data)
            check(client)
        finally:
            for connection in idle:
                connection.close()
        check(client)
    with connected(server.uri) as late:
        check(late)
    assert ports(server)[port] == number
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert not errors, errors[0].getMessage()


def send(port: int, data: bytes) -> None:
    """Send, read what comes, and go, gently or not."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.settimeout(0.05)
        try:
            connection.sendall(data)
            while connection.recv(65536):
                pass
        except (TimeoutError, ConnectionError):
            return


def check(client: MilvusClient) -> None:
    assert contents(client, "rows") == dict.fromkeys(range(10), 0)


def test_half_requests_of_a_client_that_goes_harm_nobody(server: mishards.EmbeddedServer) -> None:
    """A real request, cut off at many places."""
    recorded = record_request(server)
    number = ports(server)["milvus"]
    for cut in range(1, len(recorded), max(1, len(recorded) // 40)):
        with socket.create_connection(("127.0.0.1", number)) as connection:
            connection.sendall(recorded[:cut])
    with connected(server.uri) as client:
        check(client)


def record_request(server: mishards.EmbeddedServer) -> bytes:
    """What a client library sends for its first request."""
    heard = bytearray()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(5)

        def listen() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(0.5)
                # The server's settings, so that the client goes on to its request.
                connection.sendall(b"\0\0\0\4\0\0\0\0\0" + b"\0\0\0\4\1\0\0\0\0")
                try:
                    while data := connection.recv(65536):
                        heard.extend(data)
                except TimeoutError:
                    return

        thread = threading.Thread(target=listen)
        thread.start()
        with pytest.raises(MilvusException):
            MilvusClient(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=1)
        thread.join()
    assert heard.startswith(PREFACE)
    assert b"Connect" in heard or len(heard) > 100
    return bytes(heard)
