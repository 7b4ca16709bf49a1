"""URLs of names, and what becomes of their records; the rest is in the contract suite."""

from __future__ import annotations

import asyncio

import pytest

from mishards.core.errors import ConfigError
from mishards.core.runtime import SystemRuntime
from mishards.discovery.dns import parse_dns_url
from mishards.discovery.registry import open_registry
from mishards.testing.name_server import NameServer


def test_the_parts_of_a_url() -> None:
    url = parse_dns_url("dns://10.0.0.2:5353/_mishards._tcp.a.example,_m._tcp.b?refresh_s=2.5")
    assert (url.server, url.server_port, url.node_port, url.refresh_s) == ("10.0.0.2", 5353, 0, 2.5)
    assert url.names == ("_mishards._tcp.a.example", "_m._tcp.b")
    url = parse_dns_url("dns:///nodes.example?port=19540")
    assert (url.server, url.names, url.node_port) == ("", ("nodes.example",), 19540)


@pytest.mark.parametrize(
    "url",
    [
        "dns:///",
        "dns:///nodes.example",
        "dns:///_m._tcp.a,nodes.example",
        "dns:///nodes.example?port=0",
        "dns:///nodes.example?port=70000",
        "dns:///nodes.example?port=x",
        "dns:///_m._tcp.a?refresh_s=0",
        "dns:///_m._tcp.a?color=red",
        "dns://host:99999/_m._tcp.a",
    ],
)
def test_what_is_no_url_of_names_is_refused_with_the_form(url: str) -> None:
    with pytest.raises(ConfigError, match=r"dns://\[server\[:port\]\]/"):
        open_registry(url, SystemRuntime(threads=1))


def test_addresses_of_both_kinds_are_nodes() -> None:
    async def main() -> None:
        runtime = SystemRuntime(threads=1)
        with NameServer() as server:
            server.answer("nodes.example", hosts=["10.0.0.5", "fd00::5"])
            registry = open_registry(f"dns://{server.address}/nodes.example?port=19540", runtime)
            found = [node.address for node in await registry.nodes()]
        assert found == ["tcp://10.0.0.5:19540", "tcp://[fd00::5]:19540"]
        await runtime.close()

    asyncio.run(main())
