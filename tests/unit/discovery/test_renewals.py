"""What a process announced and does not renew is withdrawn; what it tries to renew is not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from mishards.core.errors import Unavailable
from mishards.core.ids import NodeId
from mishards.discovery.renewals import Renewals
from mishards.testing.registry_contract import passes
from mishards.testing.stepped import SteppedRuntime

A, B = NodeId("a"), NodeId("b")
TTL_S = 3.0

Case = Callable[[SteppedRuntime, Renewals, list[NodeId]], Awaitable[None]]


def play(case: Case, failures: int = 0) -> None:
    async def main() -> None:
        runtime = SteppedRuntime()
        withdrawn: list[NodeId] = []

        async def withdraw(node_id: NodeId) -> None:
            withdrawn.append(node_id)
            if len(withdrawn) <= failures:
                raise Unavailable("away")
            renewals.forget(node_id)

        renewals = Renewals(runtime, TTL_S, withdraw)
        try:
            await case(runtime, renewals, withdrawn)
        finally:
            await renewals.close()
            await runtime.close()

    asyncio.run(main())


async def steps(runtime: SteppedRuntime, count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)
        await passes(runtime, TTL_S / 3)


def test_who_is_not_renewed_is_withdrawn_once() -> None:
    async def case(runtime: SteppedRuntime, renewals: Renewals, withdrawn: list[NodeId]) -> None:
        renewals.renewed(A)
        for _ in range(6):
            renewals.renewed(B)
            await steps(runtime, 1)
        assert withdrawn == [A]

    play(case)


def test_a_withdrawal_that_fails_is_tried_again() -> None:
    async def case(runtime: SteppedRuntime, renewals: Renewals, withdrawn: list[NodeId]) -> None:
        renewals.renewed(A)
        await steps(runtime, 2)
        assert withdrawn == []
        await steps(runtime, 4)
        assert withdrawn == [A, A, A]

    play(case, failures=2)


def test_a_pause_counts_for_one_look() -> None:
    async def case(runtime: SteppedRuntime, renewals: Renewals, withdrawn: list[NodeId]) -> None:
        renewals.renewed(A)
        await asyncio.sleep(0)
        await passes(runtime, 100 * TTL_S)
        assert withdrawn == []

    play(case)


def test_who_left_is_not_withdrawn_again() -> None:
    async def case(runtime: SteppedRuntime, renewals: Renewals, withdrawn: list[NodeId]) -> None:
        renewals.renewed(A)
        renewals.forget(A)
        await steps(runtime, 6)
        assert withdrawn == []

    play(case)
