"""Calls to leaders end when their time is over, whatever they wait for; in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from mishards.cluster.membership import Membership
from mishards.core.errors import DeadlineExceeded, Unavailable
from mishards.core.ids import LogId, MetadataVersion, NodeId, Timestamp
from mishards.discovery.memory import MemoryRegistry
from mishards.discovery.protocol import NodeInfo
from mishards.proxy.config import ProxyConfig
from mishards.proxy.proxy import Proxy
from mishards.routing.registry import policy
from mishards.rpc.memory import MemoryTransport
from mishards.rpc.messages import Committed, CreateDatabase, Flushed, Message, Reply
from mishards.testing.clock import VirtualRuntime, run_virtual

TIMEOUT_S = 2.0
NEVER_SEEN = MetadataVersion(99)


class Leader:
    """Answers late, of a version that the proxy never hears of; or not at all."""

    def __init__(self, answers_after_s: float, error: Unavailable | None = None) -> None:
        self.answers_after_s = answers_after_s
        self.error = error

    async def handle(self, message: Message, context: Any) -> Reply:
        await asyncio.sleep(self.answers_after_s)
        if self.error is not None:
            raise self.error
        if type(message).__name__ == "Flush":
            return Flushed(segments={}, timestamp=Timestamp(1), version=NEVER_SEEN)
        return Committed(version=NEVER_SEEN)

    def handle_now(self, message: Message, traceparent: str = "") -> None:
        return None


def took_s(leader: Leader, call: Callable[[Proxy], Awaitable[object]], seed: int = 1) -> float:
    """How long a call takes that fails."""

    async def scene() -> float:
        runtime = VirtualRuntime(str(seed))
        registry = MemoryRegistry(runtime, ttl_s=1000)
        transport = MemoryTransport(runtime)
        listener = await transport.listen("mem://leader", cast(Any, leader))
        await registry.announce(
            NodeInfo(
                id=NodeId("leader"),
                roles=("writer",),
                address="mem://leader",
                ready=True,
                leads=(LogId(0),),
            )
        )
        membership = Membership(runtime, registry, 1.0)
        await membership.start()
        proxy = Proxy(
            runtime,
            ProxyConfig(timeout_s=TIMEOUT_S),
            transport,
            membership,
            policy("consistent_hash"),
            NodeId("proxy"),
        )
        began_s = runtime.monotonic_s()
        with pytest.raises(DeadlineExceeded):
            await call(proxy)
        taken_s = runtime.monotonic_s() - began_s
        await membership.close()
        await listener.close()
        await transport.close()
        return taken_s

    return run_virtual(scene())


@pytest.mark.parametrize(
    "call",
    [
        lambda proxy: proxy.ddl(CreateDatabase(name="new")),
        lambda proxy: proxy.flush("", []),
    ],
    ids=["ddl", "flush"],
)
def test_waiting_to_see_what_was_done_takes_only_what_the_call_has_left(call: Any) -> None:
    assert took_s(Leader(0.8 * TIMEOUT_S), call) == pytest.approx(TIMEOUT_S, abs=0.01)


def test_pauses_between_tries_end_with_the_call() -> None:
    lost = Leader(0.45, Unavailable("lost"))
    for seed in range(20):
        taken_s = took_s(lost, lambda proxy: proxy.allocate_timestamp(), seed)
        assert taken_s <= TIMEOUT_S + 0.01
