"""Every transport keeps the contract, on asyncio's loop and on uvloop."""

from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from mishards.core.runtime import Runtime
from mishards.rpc.memory import MemoryTransport
from mishards.rpc.protocol import Transport
from mishards.rpc.tcp import FramedTransport
from mishards.testing.certificates import Authority
from mishards.testing.transport_contract import TransportContract
from mishards.tls.cluster import ClusterTls


class TestMemory(TransportContract):
    def transport(self, runtime: Runtime) -> Transport:
        return MemoryTransport(runtime)

    def address(self, folder: Path) -> str:
        return "mem://writer"


class TestTcp(TransportContract):
    def transport(self, runtime: Runtime) -> Transport:
        return FramedTransport(runtime, secret="of the cluster")

    def address(self, folder: Path) -> str:
        return "tcp://127.0.0.1:0"


class TestTcpOnUvloop(TestTcp):
    def run(self, work: Coroutine[Any, Any, None]) -> None:
        uvloop.run(work)


class TestTls(TestTcp):
    tls: ClusterTls

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def certificates(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
        cls.tls = ClusterTls(Authority(tmp_path_factory.mktemp("tls")).issue())
        yield
        del cls.tls

    def transport(self, runtime: Runtime) -> Transport:
        return FramedTransport(runtime, secret="of the cluster", tls=self.tls)


class TestTlsOnUvloop(TestTls):
    def run(self, work: Coroutine[Any, Any, None]) -> None:
        uvloop.run(work)


class TestUnix(TransportContract):
    def transport(self, runtime: Runtime) -> Transport:
        return FramedTransport(runtime)

    def address(self, folder: Path) -> str:
        return f"unix://{folder}/socket"


class TestUnixOnUvloop(TestUnix):
    def run(self, work: Coroutine[Any, Any, None]) -> None:
        uvloop.run(work)
