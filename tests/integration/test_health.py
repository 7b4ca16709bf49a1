"""Health as orchestrators and balancers ask for it: over HTTP, and over gRPC on the Milvus port."""

from __future__ import annotations

import asyncio
import json
import socket
import urllib.error
import urllib.request
from typing import Any

import grpc
import pytest

import mishards
from mishards.api.health import DRAINING, Health
from mishards.api.http import server as http_server
from mishards.api.http.config import HttpConfig
from mishards.api.http.health import health_routes
from mishards.api.http.server import HttpServer
from mishards.core.errors import ConfigError
from mishards.core.runtime import SystemRuntime
from mishards.server.config import load_config
from mishards.server.status import cluster_report
from mishards.testing.client_rows import connected
from mishards.testing.local_cluster import LocalCluster, free_port, wait_for

CHECK = "/grpc.health.v1.Health/Check"
SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"
Answer = tuple[int, dict[str, Any]]


def get(address: str, path: str) -> Answer:
    """Status and JSON of a GET; (0, {}) where nobody listens."""
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=20) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())
    except OSError:
        return 0, {}


def ready(address: str) -> bool:
    return get(address, "/readyz")[0] == 200


def served(config: HttpConfig) -> tuple[HttpServer, Health]:
    health = Health(SystemRuntime())
    return HttpServer(config, health_routes(health, "n1", ("reader",))), health


def test_a_request_with_endless_headers_is_refused_and_the_server_goes_on() -> None:
    async def main() -> None:
        server, _ = served(HttpConfig(port=0))
        await server.start()
        host, _, port = server.address.rpartition(":")
        try:
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(
                b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: " + bytes(70_000).replace(b"\0", b"x")
            )
            assert (await reader.readline()).split()[1] == b"400"
            writer.close()
            assert (await asyncio.to_thread(get, server.address, "/healthz"))[0] == 200
        finally:
            await server.close()

    asyncio.run(asyncio.wait_for(main(), 30))


def test_connections_over_the_limit_are_refused_until_others_have_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_server, "_MOST_CONNECTIONS", 2)

    async def status(address: str) -> bytes:
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = await reader.readline()
        writer.close()
        return answer.split()[1]

    async def main() -> None:
        server, _ = served(HttpConfig(port=0))
        await server.start()
        host, _, port = server.address.rpartition(":")
        try:
            _, idle = await asyncio.open_connection(host, int(port))
            assert await status(server.address) == b"503"
            idle.close()
            while await status(server.address) != b"200":  # noqa: ASYNC110 - only asking tells
                await asyncio.sleep(0.01)
        finally:
            await server.close()

    asyncio.run(asyncio.wait_for(main(), 30))


def test_the_two_paths_say_what_they_are_for() -> None:
    async def main() -> None:
        server, health = served(HttpConfig(port=0))
        who = {"node": "n1", "roles": ["reader"]}
        await server.start()
        try:

            async def ask(path: str) -> Answer:
                return await asyncio.to_thread(get, server.address, path)

            assert await ask("/healthz") == (200, {"alive": True, **who})
            not_yet = {"ready": False, **who, "reason": "starting"}
            assert await ask("/readyz") == (503, not_yet)
            health.serve()
            assert await ask("/readyz") == (200, {"ready": True, **who})
            health.refuse(DRAINING)
            assert await ask("/readyz") == (503, {"ready": False, **who, "reason": DRAINING})
            assert (await ask("/healthz"))[0] == 200
        finally:
            address = server.address
            await server.close()
        assert await asyncio.to_thread(get, address, "/healthz") == (0, {})

    asyncio.run(main())


def test_the_default_port_gives_way_where_it_is_taken_and_a_set_one_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            monkeypatch.setattr("mishards.api.http.server.DEFAULT_PORT", port)
            server, _ = served(HttpConfig())
            await server.start()
            try:
                assert not server.address.endswith((f":{port}", ":0"))
                assert (await asyncio.to_thread(get, server.address, "/healthz"))[0] == 200
            finally:
                await server.close()
            second, _ = served(HttpConfig(port=port))
            with pytest.raises(ConfigError, match=f"127.0.0.1:{port}: "):
                await second.start()
            await second.close()

    asyncio.run(main())


def test_an_embedded_instance_has_no_endpoint_and_stops_at_once() -> None:
    """Nobody checks its health, so nobody has to notice that it stops."""
    port = free_port()
    with mishards.start(http__port=port, proxy__linger_s=600):
        assert get(f"127.0.0.1:{port}", "/healthz") == (0, {})


def test_an_endpoint_names_the_node_as_the_registry_does() -> None:
    port = free_port()
    with mishards.start(http__enabled=True, http__port=port, proxy__linger_s=0) as server:
        config = load_config(options={"cluster.data": server.data}, environ={}).config
        (listed,) = asyncio.run(cluster_report(config)).nodes
        assert get(f"127.0.0.1:{port}", "/readyz")[1]["node"] == listed.id
        assert listed.http == f"127.0.0.1:{port}"


def test_a_proxy_is_ready_once_it_serves_and_drains_for_those_who_look(
    cluster: LocalCluster,
) -> None:
    """Waiting for a writer, it is alive and not ready; told to stop, it says so at once, and
    still answers calls, old connections' and new ones', until it is told again."""
    addresses = {name: f"127.0.0.1:{free_port()}" for name in ("proxy", "writer")}

    def start(name: str) -> Any:
        http = ("http.enabled=true", f"http.port={addresses[name].rpartition(':')[2]}")
        settings = (*http, "proxy.linger_s=600")
        return cluster.start(name, *(w for s in settings for w in ("--set", s)), name=name)

    proxy = start("proxy")
    wait_for(lambda: get(addresses["proxy"], "/healthz")[0] == 200, "the proxy lives")
    status, answer = get(addresses["proxy"], "/readyz")
    assert (status, answer["reason"]) == (503, "starting")
    start("writer")
    for address in addresses.values():
        wait_for(lambda address=address: ready(address), "all are ready")
    wait_for(lambda: len(cluster.nodes()) == 2, "both are in the registry")
    assert {node.id: node.http for node in cluster.nodes().values()} == addresses
    with grpc.insecure_channel(f"127.0.0.1:{cluster.port}") as channel:
        check = channel.unary_unary(CHECK)
        assert check(b"", timeout=20) == SERVING
        with connected(cluster.uri) as client:
            proxy.terminate()
            wait_for(lambda: not ready(addresses["proxy"]), "the proxy drains")
            assert get(addresses["proxy"], "/readyz")[1]["reason"] == DRAINING
            assert check(b"", timeout=20) == NOT_SERVING
            assert client.list_collections() == []
            with connected(cluster.uri) as late:
                assert late.list_collections() == []
    assert proxy.exit_code is None
    assert proxy.stop() == 0, proxy.output()
