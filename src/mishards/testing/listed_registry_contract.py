"""What every registry that only lists nodes has to do, as a suite for pytest.

Such a registry has `is_list = True`: somebody else writes down where nodes are; it knows neither
who lives nor who leads, and takes no announcements. Subclass `ListedRegistryContract` under a name
that starts with `Test`, give `open`, and, where the list can change, `publish` and `lose`:

    class TestMyRegistry(ListedRegistryContract):
        async def open(self, runtime):
            return MyRegistry(...)
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

import pytest

from mishards.core.errors import Unavailable
from mishards.core.ids import NodeId
from mishards.core.runtime import Runtime
from mishards.discovery.protocol import NodeInfo, Registry
from mishards.testing.expect import raises
from mishards.testing.stepped import SteppedRuntime

ADDRESSES = ("tcp://127.0.0.1:19541", "tcp://127.0.0.2:19541", "tcp://127.0.0.3:19541")
REFRESH_S = 5.0

Case = Callable[[SteppedRuntime, Registry], Awaitable[None]]


async def addresses(registry: Registry) -> list[str]:
    return sorted(node.address for node in await registry.nodes())


class ListedRegistryContract:
    """Inherit, and override `open`, `publish` and `lose`."""

    async def open(self, runtime: Runtime) -> Registry:
        """A handle to this test's list, which looks again after `REFRESH_S` at most."""
        raise NotImplementedError

    def publish(self, listed: Sequence[str]) -> None:
        """Let the list be that of readers at these addresses, out of `ADDRESSES`; maybe none."""
        raise NotImplementedError

    def lose(self) -> None:
        """Let the list be such that it cannot be had, until it is published again."""
        raise NotImplementedError

    def play(self, case: Case) -> None:
        async def main() -> None:
            runtime = SteppedRuntime()
            registry = await self.open(runtime)
            try:
                await case(runtime, registry)
            finally:
                await registry.close()
                await runtime.close()

        asyncio.run(main())

    def test_gives_what_is_listed_and_says_that_it_is_a_list(self) -> None:
        async def case(_: SteppedRuntime, registry: Registry) -> None:
            assert getattr(registry, "is_list", False) is True
            found = await registry.nodes()
            assert sorted(node.address for node in found) == list(ADDRESSES)
            assert [node.id for node in found] == sorted({node.id for node in found})

        self.publish(ADDRESSES)
        self.play(case)

    def test_announcing_and_withdrawing_change_nothing(self) -> None:
        async def case(_: SteppedRuntime, registry: Registry) -> None:
            before = await registry.nodes()
            other = NodeInfo(id=NodeId("other"), roles=("reader",), address="tcp://127.0.0.9:1")
            await registry.announce(other)
            await registry.withdraw(before[0].id)
            assert await registry.nodes() == before

        self.publish(ADDRESSES)
        self.play(case)

    def test_a_change_is_seen(self) -> None:
        async def case(runtime: SteppedRuntime, registry: Registry) -> None:
            assert await addresses(registry) == [ADDRESSES[0]]
            self.publish(ADDRESSES[1:])
            runtime.advance(REFRESH_S)
            assert await addresses(registry) == list(ADDRESSES[1:])

        self.publish(ADDRESSES[:1])
        self.play(case)

    def test_a_list_that_is_lost_or_emptied_stays_as_it_was_and_is_told_of_once(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def case(runtime: SteppedRuntime, registry: Registry) -> None:
            before = await registry.nodes()
            for change in (self.lose, lambda: self.publish(())):
                change()
                caplog.clear()
                for _ in range(3):
                    runtime.advance(REFRESH_S)
                    assert await registry.nodes() == before
                assert len(caplog.records) <= 1
                self.publish(ADDRESSES[:2])
                runtime.advance(REFRESH_S)
                assert await registry.nodes() == before
                assert 1 <= len(caplog.records) <= 2

        self.publish(ADDRESSES[:2])
        with caplog.at_level(logging.WARNING, "mishards"):
            self.play(case)

    def test_a_list_that_never_was_is_unavailable_until_it_is(self) -> None:
        async def case(runtime: SteppedRuntime, registry: Registry) -> None:
            for _ in range(2):
                await raises(Unavailable, registry.nodes())
                runtime.advance(REFRESH_S)
            self.publish(ADDRESSES)
            assert await addresses(registry) == list(ADDRESSES)

        self.lose()
        self.play(case)
