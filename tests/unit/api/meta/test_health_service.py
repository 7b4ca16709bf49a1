"""The gRPC health service of the Milvus port."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mishards.api.health import DRAINING
from mishards.api.milvus.edge.protocol import INVALID_ARGUMENT, NOT_FOUND, GrpcFailure
from mishards.api.milvus.health import CHECK, WATCH
from mishards.api.milvus.servicer import MilvusServicer

SERVING, NOT_SERVING, SERVICE_UNKNOWN = b"\x08\x01", b"\x08\x02", b"\x08\x03"


def named(service: bytes) -> bytes:
    """A `HealthCheckRequest`."""
    return b"\x0a" + bytes([len(service)]) + service


ALL = (b"", named(b""), named(b"milvus.proto.milvus.MilvusService"))


def test_a_check_says_whether_the_node_serves(proxy: Any, health: Any) -> None:
    table = MilvusServicer(proxy, health)
    assert CHECK in table.methods
    for payload in ALL:
        assert asyncio.run(table.call(CHECK, payload, "")) == SERVING
    health.refuse(DRAINING)
    for payload in ALL:
        assert asyncio.run(table.call(CHECK, payload, "")) == NOT_SERVING


@pytest.mark.parametrize(
    ("payload", "code", "said"),
    [
        (named(b"other"), NOT_FOUND, "'other'"),
        (b"\x0a", INVALID_ARGUMENT, "127 bytes"),
        (b"\x0a\x05four", INVALID_ARGUMENT, "127 bytes"),
        (b"\x08\x01", INVALID_ARGUMENT, "127 bytes"),
        (b"\x0a\x80\x01" + b"x" * 128, INVALID_ARGUMENT, "127 bytes"),
    ],
)
def test_a_check_of_anything_else_fails(
    proxy: Any, health: Any, payload: bytes, code: int, said: str
) -> None:
    with pytest.raises(GrpcFailure, match=said) as caught:
        asyncio.run(MilvusServicer(proxy, health).call(CHECK, payload, ""))
    assert caught.value.code == code


def test_a_watch_tells_of_every_change(proxy: Any, health: Any) -> None:
    async def main() -> None:
        table = MilvusServicer(proxy, health)
        assert tuple(table.streams) == (WATCH,)
        watch = table.stream(WATCH, b"")
        assert await anext(watch) == SERVING
        for reason, told in ((DRAINING, NOT_SERVING), ("", SERVING), ("broken", NOT_SERVING)):
            following = asyncio.ensure_future(anext(watch))
            await asyncio.sleep(0)
            health.refuse(reason) if reason else health.serve()
            assert await following == told
        await watch.aclose()
        assert not health.asked_within(60)

    asyncio.run(main())


def test_a_watch_of_an_unknown_service_stays_open(proxy: Any, health: Any) -> None:
    async def main() -> None:
        watch = MilvusServicer(proxy, health).stream(WATCH, named(b"other"))
        assert await anext(watch) == SERVICE_UNKNOWN
        more = asyncio.ensure_future(anext(watch))
        health.refuse(DRAINING)
        await asyncio.sleep(0)
        assert not more.done()
        more.cancel()
        await asyncio.gather(more, return_exceptions=True)

    asyncio.run(main())
