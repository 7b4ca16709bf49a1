"""The contract of registries that only list nodes, on those built in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from mishards.core.runtime import Runtime
from mishards.discovery.protocol import Registry
from mishards.discovery.registry import open_registry
from mishards.testing.listed_registry_contract import REFRESH_S, ListedRegistryContract
from mishards.testing.name_server import NameServer


class TestJsonFile(ListedRegistryContract):
    @pytest.fixture(autouse=True)
    def _file(self, tmp_path: Path) -> None:
        self.path = tmp_path / "my nodes.json"

    async def open(self, runtime: Runtime) -> Registry:
        return open_registry(self.path.as_uri(), runtime)

    def publish(self, listed: Sequence[str]) -> None:
        self.write(json.dumps([f"reader@{address}" for address in listed]))

    def lose(self) -> None:
        self.path.unlink(missing_ok=True)

    def write(self, text: str) -> None:
        new = self.path.with_suffix(".new")
        new.write_text(text)
        new.replace(self.path)


class TestTomlFile(TestJsonFile):
    @pytest.fixture(autouse=True)
    def _file(self, tmp_path: Path) -> None:
        self.path = tmp_path / "nodes.toml"

    def publish(self, listed: Sequence[str]) -> None:
        self.write(f"nodes = {json.dumps([f'reader@{address}' for address in listed])}\n")

    def lose(self) -> None:
        self.write('nodes = ["reader@tcp://127.0')


class TestDnsAddresses(ListedRegistryContract):
    @pytest.fixture(autouse=True)
    def _server(self) -> Iterator[None]:
        with NameServer() as self.server:
            yield

    async def open(self, runtime: Runtime) -> Registry:
        url = f"dns://{self.server.address}/nodes.example?port=19541&refresh_s={REFRESH_S}"
        return open_registry(url, runtime)

    def publish(self, listed: Sequence[str]) -> None:
        hosts = [address.removeprefix("tcp://").split(":")[0] for address in listed]
        self.server.answer("nodes.example", hosts=hosts)

    def lose(self) -> None:
        self.server.fail()


class TestDnsServices(TestDnsAddresses):
    async def open(self, runtime: Runtime) -> Registry:
        url = f"dns://{self.server.address}/_mishards._tcp.example?refresh_s={REFRESH_S}"
        return open_registry(url, runtime)

    def publish(self, listed: Sequence[str]) -> None:
        places = [address.removeprefix("tcp://").split(":") for address in listed]
        services = [(host, int(port)) for host, port in places]
        self.server.answer("_mishards._tcp.example", services=services)
