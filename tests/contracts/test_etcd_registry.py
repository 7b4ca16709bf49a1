"""What only etcd can do wrong as a registry; the rest is in the contract suite."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from mishards.discovery.etcd import FORGET_S, EtcdRegistry
from mishards.storage.etcd_requests import after, put, read
from mishards.testing.registry_contract import TTL_S, names, node
from mishards.testing.services.etcd import Etcd
from mishards.testing.stepped import SteppedRuntime


@pytest.fixture
def url(etcd: Etcd) -> str:
    return etcd.database(f"t{uuid4().hex}")


def test_keys_of_long_dead_nodes_are_removed(url: str) -> None:
    async def work() -> None:
        runtime = SteppedRuntime()
        registry = EtcdRegistry(url, runtime, ttl_s=TTL_S)
        await registry.announce(node("dead"))
        for _ in range(round(FORGET_S / (TTL_S / 3)) + 2):
            await registry.announce(node("me"))
            await registry.nodes()
            runtime.advance(TTL_S / 3)
        prefix = registry._prefix
        found = registry._client.read(read(prefix, after(prefix))).ranges[0]
        assert [item.key.removeprefix(prefix) for item in found] == [b"me"]
        await registry.close()
        await runtime.close()

    asyncio.run(work())


@pytest.mark.parametrize("odd", [b'{"node": {"id": 7}, "ms": %d}', b"no JSON", b"\xff%d", b"7"])
def test_a_key_that_cannot_be_read_hides_no_other(url: str, odd: bytes) -> None:
    async def work() -> None:
        runtime = SteppedRuntime()
        registry = EtcdRegistry(url, runtime, ttl_s=TTL_S)
        await registry.announce(node("a"))
        now = b"%d" % runtime.now_ms()
        registry._client.write([], [put(registry._prefix + b"odd", odd.replace(b"%d", now))])
        assert await names(registry) == ["a"]
        await registry.close()
        await runtime.close()

    asyncio.run(work())
