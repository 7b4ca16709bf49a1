"""What a node says of itself, and who asked."""

from __future__ import annotations

import asyncio

from mishards.api.health import DRAINING, STARTING, Health
from mishards.testing.clock import VirtualRuntime, run_virtual


def test_a_node_starts_serves_and_drains() -> None:
    async def main() -> None:
        health = Health(VirtualRuntime("t"))
        assert (health.serves, health.ask()) == (False, STARTING)
        health.serve()
        assert (health.serves, health.ask()) == (True, "")
        health.refuse(DRAINING)
        assert (health.serves, health.ask()) == (False, DRAINING)

    run_virtual(main())


def test_checks_are_remembered_for_a_while() -> None:
    async def main() -> None:
        runtime = VirtualRuntime("t")
        health = Health(runtime)
        assert not health.asked_within(60)
        health.ask()
        await runtime.sleep(59)
        assert health.asked_within(60)
        await runtime.sleep(2)
        assert not health.asked_within(60)

    run_virtual(main())


def test_a_watcher_counts_as_asking_and_is_told_of_each_change_that_lasts() -> None:
    async def main() -> None:
        health = Health(VirtualRuntime("t"))
        told: list[bool] = []

        async def watch() -> None:
            async for serves in health.watch():
                told.append(serves)

        watching = asyncio.ensure_future(watch())
        await asyncio.sleep(1)
        assert (told, health.asked_within(60)) == ([False], True)
        health.serve()
        await asyncio.sleep(1)
        health.refuse("another reason")
        health.refuse("a better reason")
        await asyncio.sleep(1)
        assert told == [False, True, False]
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        assert not health.asked_within(60)

    run_virtual(main())
