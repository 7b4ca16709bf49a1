"""Nodes are asked themselves where their registry cannot tell."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
import pytest

from mishards.cluster.asking import AskingRegistry
from mishards.cluster.membership import Membership
from mishards.core.errors import MishardsError, NotReady, ProtocolError, Unavailable
from mishards.core.ids import LogId, NodeId
from mishards.core.runtime import SystemRuntime
from mishards.discovery.protocol import NodeInfo
from mishards.discovery.static import StaticRegistry
from mishards.rpc.memory import MemoryTransport
from mishards.rpc.messages import Introduce, Introduction, Message, Reply
from mishards.rpc.protocol import CallContext, Listener
from mishards.testing.expect import raises


class Peer:
    """A node as far as it says who it is."""

    def __init__(self, node: NodeInfo) -> None:
        self.node = node
        self.error: MishardsError | None = None
        self.asked = 0
        self.listener: Listener | None = None

    async def handle(self, message: Message, context: CallContext) -> Reply:
        assert isinstance(message, Introduce)
        self.asked += 1
        if self.error is not None:
            raise self.error
        return Introduction(node=self.node)

    def handle_now(self, message: Message, traceparent: str = "") -> Reply | None:
        return None

    def stream(self, message: Message, context: CallContext) -> AsyncIterator[Reply]:
        raise NotImplementedError

    async def die(self) -> None:
        assert self.listener is not None
        await self.listener.close()


class Listing:
    """A registry that knows what the test says."""

    def __init__(self, *, is_list: bool = False) -> None:
        self.is_list = is_list
        self.listed: tuple[NodeInfo, ...] = ()
        self.away = False

    async def announce(self, node: NodeInfo) -> None:
        self._check()

    async def withdraw(self, node_id: NodeId) -> None:
        self._check()

    async def nodes(self) -> tuple[NodeInfo, ...]:
        self._check()
        return self.listed

    async def close(self) -> None:
        pass

    def _check(self) -> None:
        if self.away:
            raise Unavailable("no registry")


class World:
    def __init__(self) -> None:
        self.runtime = SystemRuntime(seed=1, threads=1)
        self.transport = MemoryTransport(self.runtime)
        self.listing = Listing()

    async def peer(self, name: str, role: str = "reader", leads: tuple[int, ...] = ()) -> Peer:
        node = NodeInfo(id=NodeId(name), roles=(role,), address=f"mem://{name}", leads=leads)
        peer = Peer(node)
        peer.listener = await self.transport.listen(node.address, peer)
        return peer

    def asking(self, registry: object | None = None) -> AskingRegistry:
        listed = self.listing if registry is None else registry
        return AskingRegistry(listed, self.transport, self.runtime, every_s=0.0)  # type: ignore[arg-type]


def play(scene: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        world = World()
        async with asyncio.timeout(30):
            await scene(world)
        await world.transport.close()
        await world.runtime.close()

    asyncio.run(main())


def _ready(nodes: tuple[NodeInfo, ...]) -> dict[str, bool]:
    return {node.id: node.ready for node in nodes}


def test_a_list_is_filled_with_what_nodes_say_of_themselves() -> None:
    async def scene(world: World) -> None:
        leader = await world.peer("w2", "writer", leads=(0, 1))
        await world.peer("w1", "writer")
        starting = await world.peer("r1")
        starting.error = NotReady("not yet")
        await world.peer("r2")
        texts = ["writer@mem://w1", "writer@mem://w2", "a=reader@mem://r1", "reader@mem://r2"]
        found = await world.asking(StaticRegistry(texts)).nodes()
        assert _ready(found) == {"a": False, "r2": True, "w1": True, "w2": True}
        assert found[-1] == leader.node

    play(scene)


def test_who_of_a_list_does_not_answer_is_not_ready_until_it_does() -> None:
    async def scene(world: World) -> None:
        peers = [await world.peer(name, leads=(0,)) for name in ("r1", "r2")]
        registry = world.asking(StaticRegistry(["reader@mem://r1", "reader@mem://r2"]))
        assert _ready(await registry.nodes()) == {"r1": True, "r2": True}
        await peers[0].die()
        assert _ready(await registry.nodes()) == {"r1": False, "r2": True}
        assert (await registry.nodes())[0].leads == ()
        await world.peer("r1")
        assert _ready(await registry.nodes()) == {"r1": True, "r2": True}

    play(scene)


def test_where_nobody_of_a_list_answers_all_stay_as_they_were() -> None:
    async def scene(world: World) -> None:
        peers = [await world.peer(name) for name in ("r1", "r2")]
        registry = world.asking(StaticRegistry(["reader@mem://r1", "reader@mem://r2"]))
        before = await registry.nodes()
        for peer in peers:
            await peer.die()
        assert await registry.nodes() == before

    play(scene)


def test_an_address_without_a_role_is_no_node_until_it_says_what_it_is() -> None:
    async def scene(world: World) -> None:
        world.listing.is_list = True
        address = "mem://somewhere"
        world.listing.listed = (NodeInfo(id=NodeId(address), roles=(), address=address),)
        registry = world.asking()
        assert await registry.nodes() == ()
        peer = await world.peer("r1")
        peer.listener = await world.transport.listen(address, peer)
        (found,) = await registry.nodes()
        assert found == msgspec.structs.replace(peer.node, address=address)

    play(scene)


def test_a_release_that_does_not_know_the_question_lives_as_it_is_listed() -> None:
    async def scene(world: World) -> None:
        old, _ = await world.peer("r1"), await world.peer("r2")
        old.error = ProtocolError("unknown message")
        found = await world.asking(StaticRegistry(["reader@mem://r1", "reader@mem://r2"])).nodes()
        assert _ready(found) == {"mem://r1": True, "r2": True}

    play(scene)


def test_what_a_registry_tells_of_by_itself_is_passed_on() -> None:
    class Telling(Listing):
        async def changed(self) -> None:
            raise Unavailable("told")

    async def scene(world: World) -> None:
        assert world.asking().changed is None
        changed = world.asking(Telling()).changed
        assert changed is not None
        await raises(Unavailable, changed())

    play(scene)


@pytest.mark.parametrize("left", [0, 1])
def test_an_emptied_registry_loses_nobody_who_answers(left: int) -> None:
    async def scene(world: World) -> None:
        peers = [await world.peer(name) for name in ("r1", "r2", "r3")]
        world.listing.listed = tuple(peer.node for peer in peers)
        registry = world.asking()
        assert _ready(await registry.nodes()) == {"r1": True, "r2": True, "r3": True}
        assert not any(peer.asked for peer in peers), "who is listed need not be asked"
        world.listing.listed = world.listing.listed[:left]
        for _ in range(3):
            assert _ready(await registry.nodes()) == {"r1": True, "r2": True, "r3": True}
        # One drains: it answers, and says so.
        peers[2].node = msgspec.structs.replace(peers[2].node, ready=False)
        assert _ready(await registry.nodes()) == {"r1": True, "r2": True}

    play(scene)


def test_who_vanished_and_does_not_answer_is_gone_but_never_everyone_at_once() -> None:
    async def scene(world: World) -> None:
        peers = [await world.peer(name) for name in ("r1", "r2", "r3")]
        world.listing.listed = tuple(peer.node for peer in peers)
        registry = world.asking()
        await registry.nodes()
        for peer in peers[1:]:
            await peer.die()
        world.listing.listed = (peers[0].node, peers[1].node)
        assert list(_ready(await registry.nodes())) == ["r1", "r2"]
        await peers[0].die()
        world.listing.listed = ()
        for _ in range(3):
            assert list(_ready(await registry.nodes())) == ["r1", "r2"]

    play(scene)


def test_a_node_at_the_address_of_one_that_vanished_takes_its_place() -> None:
    async def scene(world: World) -> None:
        peer = await world.peer("r1")
        world.listing.listed = (peer.node,)
        registry = world.asking()
        await registry.nodes()
        again = msgspec.structs.replace(peer.node, id=NodeId("r1-again"))
        world.listing.listed = (again,)
        assert await registry.nodes() == (again,)

    play(scene)


def test_who_withdraws_itself_is_gone_though_it_was_the_last() -> None:
    async def scene(world: World) -> None:
        peer = await world.peer("r1")
        registry = world.asking()
        await registry.announce(peer.node)
        world.listing.listed = (peer.node,)
        assert await registry.nodes() == (peer.node,)
        await registry.withdraw(peer.node.id)
        world.listing.listed = ()
        assert await registry.nodes() == ()

    play(scene)


def test_while_the_registry_is_away_the_last_nodes_say_who_leads() -> None:
    async def scene(world: World) -> None:
        old = await world.peer("w1", "writer", leads=(0,))
        new = await world.peer("w2", "writer")
        world.listing.listed = (old.node, new.node)
        registry = world.asking()
        membership = Membership(world.runtime, registry, 1000.0)
        await membership.refresh()
        assert membership.leader(LogId(0)) == old.node
        world.listing.away = True
        await raises(Unavailable, registry.nodes())
        await old.die()
        new.node = msgspec.structs.replace(new.node, leads=(0,), epochs=(2,))
        await membership.refresh()
        assert not membership.reachable
        assert membership.leader(LogId(0)) == new.node
        assert [node.id for node in membership.view.nodes] == ["w1", "w2"]
        await membership.close()

    play(scene)
