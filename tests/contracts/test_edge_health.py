"""The gRPC health service on each edge: a check, and a watch over the life of a node."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

import grpc
import grpc.aio
import pytest

from mishards.api.health import DRAINING, Health
from mishards.api.milvus.edge.protocol import EdgeCall, EdgeSettings
from mishards.api.milvus.edge.registry import make_edge
from mishards.api.milvus.health import CHECK, WATCH, HealthService
from mishards.core.runtime import SystemRuntime

SERVING, NOT_SERVING, UNKNOWN = b"\x08\x01", b"\x08\x02", b"\x08\x03"
OTHER = b"\x0a\x05other"


class Table:
    """The health service alone."""

    methods = (CHECK,)
    streams = (WATCH,)
    inline = ()

    def __init__(self, health: Health) -> None:
        self._service = HealthService(health, ())

    def calls_now(self, method: str, calls: Sequence[EdgeCall]) -> list[bytes | None]:
        return [None] * len(calls)

    async def call(self, method: str, payload: bytes, database: str, begun: object = None) -> bytes:
        return self._service.check(payload)

    def stream(self, method: str, payload: bytes) -> AsyncGenerator[bytes]:
        return self._service.watch(payload)


@pytest.mark.parametrize("name", ["native", "grpcio"])
def test_clients_are_told_whether_a_node_serves(name: str) -> None:
    async def main() -> None:
        health = Health(SystemRuntime())
        edge = make_edge(name, Table(health), EdgeSettings())
        await edge.start()
        try:
            async with grpc.aio.insecure_channel(edge.address) as channel:
                check, watch = channel.unary_unary(CHECK), channel.unary_stream(WATCH)
                watching, other = watch(b"", timeout=60), watch(OTHER, timeout=60)
                assert await other.read() == UNKNOWN
                for expected in (NOT_SERVING, SERVING, NOT_SERVING):
                    assert await watching.read() == expected
                    assert await check(b"", timeout=20) == expected
                    health.refuse(DRAINING) if expected == SERVING else health.serve()
                with pytest.raises(grpc.RpcError) as unknown:
                    await check(OTHER, timeout=20)
                assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
                assert await watching.read() == SERVING
                await edge.close()
                for call in (watching, other):
                    with pytest.raises(grpc.RpcError) as ended:
                        await call.read()
                    assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
        finally:
            await edge.close()

    asyncio.run(main())
