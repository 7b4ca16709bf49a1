"""What only ZooKeeper can do wrong: sessions that end, notes, accounts; suites hold the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from uuid import uuid4

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import NoAuthError

from mishards.cluster.membership import Membership
from mishards.core.errors import Unavailable
from mishards.core.ids import NodeId
from mishards.discovery.zookeeper import ZooKeeperRegistry
from mishards.testing.expect import raises
from mishards.testing.fault_proxy import FaultNetwork
from mishards.testing.local_cluster import wait_for
from mishards.testing.registry_contract import hears_of_each, names, node
from mishards.testing.services.zookeeper import ZooKeeper
from mishards.testing.stepped import SteppedRuntime

TTL_S, SHORT_S = 30.0, 1.0
"""Sessions outlive the machine's own pauses, but for the one that is to end."""

Open = Callable[..., ZooKeeperRegistry]


@pytest.fixture
def prefix() -> str:
    return f"t{uuid4().hex}"


@pytest.fixture
def plain(zookeeper: ZooKeeper) -> Iterator[KazooClient]:
    """A client that is no part of the product."""
    client = KazooClient(zookeeper.endpoint, timeout=10)
    client.start()
    yield client
    client.stop()
    client.close()


def play(case: Callable[[SteppedRuntime, Open], Awaitable[None]]) -> None:
    """Run a case with registries that are closed at its end; its clock stands still."""

    async def main() -> None:
        runtime = SteppedRuntime()
        opened: list[ZooKeeperRegistry] = []

        def open_one(url: str, ttl_s: float = TTL_S) -> ZooKeeperRegistry:
            opened.append(ZooKeeperRegistry(url, runtime, ttl_s=ttl_s))
            return opened[-1]

        try:
            await case(runtime, open_one)
        finally:
            for registry in opened:
                await registry.close()
            await runtime.close()

    asyncio.run(main())


def test_a_node_that_was_cut_off_keeps_its_view_and_its_place_and_returns_by_itself(
    zookeeper: ZooKeeper, plain: KazooClient, prefix: str
) -> None:
    async def case(runtime: SteppedRuntime, open_one: Open) -> None:
        far = open_one(f"zookeeper://127.0.0.1:{link.port}/{prefix}", SHORT_S)
        near = open_one(zookeeper.database(prefix))
        await far.announce(node("far"))
        await near.announce(node("near"))
        membership = Membership(runtime, far, refresh_s=1.0)
        await membership.refresh()
        assert await names(near) == ["far", "near"]

        link.cut()
        await raises(Unavailable, far.announce(node("far")))
        await membership.refresh()
        assert not membership.reachable
        assert [found.id for found in membership.view.nodes] == ["far", "near"]
        wait_for(lambda: entries(plain, prefix) == ["near"], "its session has expired")
        assert await names(near) == ["far", "near"], "who vanished without a word stays for a while"
        await near.announce(node("near", ready=False))

        link.heal()
        async with asyncio.timeout(30):
            both = (node("far"), node("near", ready=False))
            while membership.view.nodes != both or entries(plain, prefix) != ["far", "near"]:
                await answers(lambda: far.announce(node("far")))
                await membership.refresh()
        assert await names(near) == ["far", "near"]

    with FaultNetwork() as network:
        link = network.link("zookeeper", "127.0.0.1", zookeeper.port)
        play(case)


def test_a_watch_tells_of_every_change_and_of_a_lost_connection(
    zookeeper: ZooKeeper, prefix: str
) -> None:
    async def case(_: SteppedRuntime, open_one: Open) -> None:
        one = open_one(zookeeper.database(prefix))
        other = open_one(f"zookeeper://127.0.0.1:{link.port}/{prefix}")
        await hears_of_each(other, one)
        waiting = asyncio.ensure_future(other.changed())
        link.reset()
        await asyncio.wait_for(waiting, 30)
        await answers(other.nodes)
        waiting = asyncio.ensure_future(other.changed())
        await one.withdraw(NodeId("a"))
        await asyncio.wait_for(waiting, 30)
        assert await names(other) == ["b", "c"]

    with FaultNetwork() as network:
        link = network.link("zookeeper", "127.0.0.1", zookeeper.port)
        play(case)


def test_a_tree_that_was_lost_is_filled_again(
    zookeeper: ZooKeeper, plain: KazooClient, prefix: str
) -> None:
    async def case(_: SteppedRuntime, open_one: Open) -> None:
        one, other = (open_one(zookeeper.database(prefix)) for _ in range(2))
        await one.announce(node("a"))
        await other.announce(node("b"))
        assert await names(other) == ["a", "b"]
        plain.delete(f"/{prefix}", recursive=True)
        assert await names(other) == ["a", "b"]
        await one.announce(node("a", ready=False))
        assert await other.nodes() == (node("a", ready=False), node("b"))
        await one.withdraw(NodeId("a"))
        assert await names(other) == ["b"]

    play(case)


def test_nothing_is_written_while_nothing_changes(
    zookeeper: ZooKeeper, plain: KazooClient, prefix: str
) -> None:
    async def case(_: SteppedRuntime, open_one: Open) -> None:
        registry = open_one(zookeeper.database(prefix))
        await registry.announce(node("a"))
        before = plain.get(f"/{prefix}/node")[1]
        for _ in range(3):
            await registry.announce(node("a"))
            assert await names(registry) == ["a"]
        assert plain.get(f"/{prefix}/node")[1] == before

    play(case)


def test_of_several_entries_of_a_node_the_last_one_counts_and_all_are_withdrawn(
    zookeeper: ZooKeeper, plain: KazooClient, prefix: str
) -> None:
    async def case(_: SteppedRuntime, open_one: Open) -> None:
        before, after = (open_one(zookeeper.database(prefix)) for _ in range(2))
        await before.announce(node("a", ready=False))
        await after.announce(node("a"))
        assert entries(plain, prefix) == ["a", "a"]
        assert await before.nodes() == (node("a"),)
        await after.withdraw(NodeId("a"))
        assert await before.nodes() == ()
        assert entries(plain, prefix) == []

    play(case)


def test_many_may_leave_at_once(zookeeper: ZooKeeper, prefix: str) -> None:
    async def case(_: SteppedRuntime, open_one: Open) -> None:
        handles = [open_one(zookeeper.database(prefix)) for _ in range(6)]
        for number, handle in enumerate(handles):
            await handle.announce(node(f"n{number}"))
        assert len(await handles[0].nodes()) == 6
        leaving = [handle.withdraw(NodeId(f"n{n}")) for n, handle in enumerate(handles)]
        await asyncio.gather(*leaving[1:], leaving[0])
        assert await handles[0].nodes() == ()

    play(case)


@pytest.mark.parametrize("name", ["odd;0000000007", "odd", ";"])
@pytest.mark.parametrize("odd", [b'{"id": 7}', b"no JSON", b"\xff", b""])
def test_an_entry_that_cannot_be_read_hides_no_other(
    zookeeper: ZooKeeper, plain: KazooClient, prefix: str, name: str, odd: bytes
) -> None:
    async def case(_: SteppedRuntime, open_one: Open) -> None:
        registry = open_one(zookeeper.database(prefix))
        await registry.announce(node("a"))
        plain.create(f"/{prefix}/node/{name}", odd)
        plain.set(f"/{prefix}/node", odd)
        assert await names(registry) == ["a"]
        await registry.withdraw(NodeId("a"))
        assert await names(registry) == []

    play(case)


def test_an_account_keeps_others_out(zookeeper: ZooKeeper, plain: KazooClient, prefix: str) -> None:
    async def case(_: SteppedRuntime, open_one: Open) -> None:
        mine = f"zookeeper://me:a%3Apass@{zookeeper.endpoint}/{prefix}"
        await open_one(mine).announce(node("a"))
        assert await names(open_one(mine)) == ["a"]
        with pytest.raises(NoAuthError):
            plain.get(f"/{prefix}/node")
        error = await raises(Unavailable, open_one(zookeeper.database(prefix)).nodes())
        assert "the account may not use the prefix" in error.message
        assert "pass" not in error.message

    play(case)


def entries(plain: KazooClient, prefix: str) -> list[str]:
    """Whose entries there are."""
    return sorted(name.partition(";")[0] for name in plain.get_children(f"/{prefix}/node"))


async def answers(call: Callable[[], Awaitable[object]]) -> object:
    """What the call gives once it succeeds."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await call()
            except Unavailable:
                continue
