"""What a node says of itself to whom asks it."""

from __future__ import annotations

import asyncio

from mishards.core.errors import NotReady
from mishards.core.ids import Epoch, LogId, NodeId
from mishards.core.runtime import SystemRuntime
from mishards.discovery.memory import MemoryRegistry
from mishards.discovery.protocol import NodeInfo
from mishards.rpc.messages import Introduce, Introduction
from mishards.rpc.protocol import CallContext
from mishards.server.dispatch import RoleDispatcher
from mishards.server.presence import Presence
from mishards.testing.expect import raises


def test_a_node_says_what_it_would_announce_and_that_it_leaves() -> None:
    async def main() -> None:
        runtime = SystemRuntime(threads=1)
        reigns: dict[LogId, Epoch] = {}
        info = NodeInfo(id=NodeId("w"), roles=("writer",), address="mem://w", ready=False)
        registry = MemoryRegistry(runtime, ttl_s=10.0)
        presence = Presence(runtime, registry, info, lambda: reigns, 1.0)
        dispatcher = RoleDispatcher(NodeId("w"))
        context = CallContext(deadline_s=runtime.monotonic_s() + 20.0)
        await raises(NotReady, dispatcher.handle(Introduce(), context))
        dispatcher.introduce = lambda: presence.introduction

        async def said() -> NodeInfo:
            reply = await dispatcher.handle(Introduce(), context)
            assert isinstance(reply, Introduction)
            return reply.node

        assert not (await said()).ready
        await presence.announce(ready=True)
        assert (await said(),) == await registry.nodes()
        # What has changed is said before the next announcement.
        reigns[LogId(2)] = Epoch(7)
        assert (await said()).reign(LogId(2)) == 7
        await presence.withdraw()
        assert not (await said()).ready
        await runtime.close()

    asyncio.run(main())
