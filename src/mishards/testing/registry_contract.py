"""What every `Registry` has to do, as a suite for pytest.

Subclass `RegistryContract` under a name that starts with `Test` and give `open`:

    class TestMyRegistry(RegistryContract):
        async def open(self, runtime):
            return MyRegistry(runtime, ..., ttl_s=TTL_S)

Within one test every call of `open` gives one more handle, as of one more process, to the same, at
first empty, registry; for another test the registry is another one. A registry that a server keeps
is held to `RegistryServerContract` instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from mishards.core.errors import Unavailable
from mishards.core.ids import NodeId
from mishards.core.runtime import Runtime
from mishards.discovery.protocol import NodeInfo, Registry, Watching
from mishards.testing.expect import raises
from mishards.testing.outage import LONGEST_S, Outage
from mishards.testing.stepped import SteppedRuntime
from mishards.testing.waiting import until

TTL_S = 3.0
BEAT_S = 0.5

Handle = Callable[[], Awaitable[Registry]]
Case = Callable[[SteppedRuntime, Handle], Awaitable[None]]


def node(name: str, *, ready: bool = True, leads: tuple[int, ...] = ()) -> NodeInfo:
    return NodeInfo(
        id=NodeId(name), roles=("reader",), address=f"mem://{name}", ready=ready, leads=leads
    )


async def names(registry: Registry) -> list[str]:
    return [found.id for found in await registry.nodes()]


async def hears_of_each(other: Watching, one: Registry) -> None:
    """What is announced through one handle ends a wait of another, and nothing else does."""
    await one.announce(node("a"))
    assert await names(other) == ["a"]
    for name in ("b", "c"):
        waiting = asyncio.ensure_future(other.changed())
        await names(other)
        assert not waiting.done()
        await one.announce(node(name))
        await asyncio.wait_for(waiting, 30)
        assert name in await names(other)


async def passes(runtime: SteppedRuntime, seconds: float) -> None:
    """Let time pass, and what registries do by themselves about it be done."""
    waiting = runtime.sleepers
    runtime.advance(seconds)
    await until(lambda: runtime.sleepers >= waiting, LONGEST_S)


class RegistryContract:
    """Inherit, and override `open`."""

    async def open(self, runtime: Runtime) -> Registry:
        """One more handle to this test's registry, in which nodes live for `TTL_S`."""
        raise NotImplementedError

    def play(self, case: Case) -> None:
        async def main() -> None:
            runtime = SteppedRuntime()
            opened: list[Registry] = []

            async def handle() -> Registry:
                opened.append(await self.open(runtime))
                return opened[-1]

            try:
                await case(runtime, handle)
            finally:
                for registry in opened:
                    await registry.close()
                await runtime.close()

        asyncio.run(main())

    def test_an_empty_registry_has_no_nodes(self) -> None:
        async def case(_: SteppedRuntime, handle: Handle) -> None:
            assert await (await handle()).nodes() == ()

        self.play(case)

    def test_others_see_what_was_announced_by_id(self) -> None:
        async def case(_: SteppedRuntime, handle: Handle) -> None:
            one, other = await handle(), await handle()
            second, first = node("b", leads=(0,)), node("a", ready=False)
            await one.announce(second)
            await one.announce(first)
            assert await other.nodes() == (first, second)

        self.play(case)

    def test_the_newest_announcement_counts(self) -> None:
        async def case(_: SteppedRuntime, handle: Handle) -> None:
            one, other = await handle(), await handle()
            await one.announce(node("a", ready=False))
            await other.nodes()
            await one.announce(node("a"))
            assert await other.nodes() == (node("a"),)

        self.play(case)

    def test_who_withdraws_is_gone_at_once_and_may_come_back(self) -> None:
        async def case(_: SteppedRuntime, handle: Handle) -> None:
            one, other = await handle(), await handle()
            await one.announce(node("a"))
            await one.announce(node("b"))
            assert await names(other) == ["a", "b"]
            await one.withdraw(NodeId("a"))
            await one.withdraw(NodeId("never there"))
            assert await names(other) == ["b"]
            await one.announce(node("a"))
            assert await names(other) == ["a", "b"]

        self.play(case)

    def test_a_silent_node_expires_and_a_renewed_one_does_not(self) -> None:
        async def case(runtime: SteppedRuntime, handle: Handle) -> None:
            silent, lively, watcher = await handle(), await handle(), await handle()
            await silent.announce(node("silent"))
            seen = []
            for _ in range(round(2 * TTL_S / BEAT_S)):
                await lively.announce(node("lively"))
                seen.append(await names(watcher))
                await passes(runtime, BEAT_S)
            assert all("lively" in found for found in seen)
            assert seen[round(TTL_S / BEAT_S) - 2] == ["lively", "silent"]
            assert seen[-1] == ["lively"]

        self.play(case)

    def test_an_expired_node_comes_back_with_its_next_beat(self) -> None:
        async def case(runtime: SteppedRuntime, handle: Handle) -> None:
            one, watcher = await handle(), await handle()
            await one.announce(node("a"))
            for _ in range(round(2 * TTL_S / BEAT_S)):
                await watcher.nodes()
                await passes(runtime, BEAT_S)
            assert await names(watcher) == []
            await one.announce(node("a"))
            assert await names(watcher) == ["a"]

        self.play(case)

    def test_many_announce_at_once(self) -> None:
        async def case(_: SteppedRuntime, handle: Handle) -> None:
            handles = [await handle() for _ in range(4)]
            await asyncio.gather(*(handles[i % 4].announce(node(f"n{i % 8}")) for i in range(32)))
            assert await names(handles[0]) == [f"n{i}" for i in range(8)]

        self.play(case)

    def test_ids_that_differ_are_different_nodes(self) -> None:
        async def case(_: SteppedRuntime, handle: Handle) -> None:
            registry = await handle()
            ids = ["A", "a", "a ", "á", "ä"]
            for name in ids:
                await registry.announce(node(name))
            assert await names(registry) == sorted(ids)
            await registry.withdraw(NodeId("A"))
            assert await names(registry) == sorted(ids[1:])

        self.play(case)


class RegistryServerContract(RegistryContract):
    """As `RegistryContract`, and give `server`: what keeps it. It runs when a test ends."""

    server: Outage

    def test_without_its_server_every_call_is_unavailable_until_it_is_back(self) -> None:
        async def case(_: SteppedRuntime, handle: Handle) -> None:
            registry = await handle()
            await registry.announce(node("a"))
            for away, back in (
                (self.server.stop, self.server.start),
                (self.server.freeze, self.server.thaw),
            ):
                away()
                try:
                    async with asyncio.timeout(LONGEST_S):
                        await asyncio.gather(
                            raises(Unavailable, registry.nodes()),
                            raises(Unavailable, registry.announce(node("a"))),
                            raises(Unavailable, registry.withdraw(NodeId("a"))),
                        )
                finally:
                    back()
                await registry.announce(node("a"))
                assert await names(registry) == ["a"]

        self.play(case)

    def test_an_outage_makes_nobody_look_dead(self) -> None:
        async def case(runtime: SteppedRuntime, handle: Handle) -> None:
            one, other = await handle(), await handle()
            await one.announce(node("a"))
            await other.announce(node("b"))
            assert await names(other) == ["a", "b"]
            self.server.stop()
            try:
                await passes(runtime, 10 * TTL_S)
                await raises(Unavailable, other.nodes())
            finally:
                self.server.start()
            await other.announce(node("b"))
            assert await names(other) == ["a", "b"]
            for _ in range(round(2 * TTL_S / BEAT_S)):
                await other.announce(node("b"))
                await other.nodes()
                await passes(runtime, BEAT_S)
            assert await names(other) == ["b"]

        self.play(case)
