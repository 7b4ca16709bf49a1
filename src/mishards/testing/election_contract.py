"""What every `Election` has to do, as a suite for pytest.

Subclass `ElectionContract` under a name that starts with `Test` and give `open`:

    class TestMyElection(ElectionContract):
        async def open(self, runtime):
            return MyElection(runtime, ...)

Within one test every call of `open` gives one more handle, as of one more process, to the same, at
first empty, election; for another test the election is another one. An election that a server keeps
is held to `ElectionServerContract` instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from mishards.core.errors import LeaseTaken, Unavailable
from mishards.core.ids import LogId, NodeId
from mishards.core.runtime import Runtime, SystemRuntime
from mishards.discovery.election import NOBODY, Election, Lease
from mishards.testing.expect import raises
from mishards.testing.outage import LONGEST_S, Outage

LOG = LogId(0)
ONE, TWO = NodeId("one"), NodeId("two")

Handle = Callable[[], Awaitable[Election]]
Case = Callable[[Handle], Awaitable[None]]


class ElectionContract:
    """Inherit, and override `open`."""

    async def open(self, runtime: Runtime) -> Election:
        """One more handle to this test's election."""
        raise NotImplementedError

    def play(self, case: Case) -> None:
        async def main() -> None:
            runtime = SystemRuntime()
            opened: list[Election] = []

            async def handle() -> Election:
                opened.append(await self.open(runtime))
                return opened[-1]

            try:
                await case(handle)
            finally:
                for election in opened:
                    await election.close()
                await runtime.close()

        asyncio.run(main())

    def test_a_log_that_was_never_held_has_an_empty_lease(self) -> None:
        async def case(handle: Handle) -> None:
            assert await (await handle()).look(LOG) == Lease(log_id=LOG)

        self.play(case)

    def test_a_swap_is_seen_by_every_handle_and_raises_the_beat(self) -> None:
        async def case(handle: Handle) -> None:
            first, second = await handle(), await handle()
            lease = await first.swap(await first.look(LOG), ONE)
            assert lease == Lease(log_id=LOG, holder=ONE, beat=1)
            assert await second.look(LOG) == lease
            renewed = await first.swap(lease, ONE)
            assert (renewed.holder, renewed.beat) == (ONE, 2)
            assert await second.look(LOG) == renewed

        self.play(case)

    def test_a_swap_of_a_lease_of_before_is_refused_and_changes_nothing(self) -> None:
        async def case(handle: Handle) -> None:
            first, second = await handle(), await handle()
            seen = await second.look(LOG)
            held = await first.swap(seen, ONE)
            with pytest.raises(LeaseTaken):
                await second.swap(seen, TWO)
            renewed = await first.swap(held, ONE)
            with pytest.raises(LeaseTaken):
                await second.swap(held, TWO)
            assert await first.look(LOG) == renewed

        self.play(case)

    def test_an_observer_takes_over_and_the_old_holder_cannot_renew(self) -> None:
        async def case(handle: Handle) -> None:
            first, second = await handle(), await handle()
            held = await first.swap(await first.look(LOG), ONE)
            taken = await second.swap(await second.look(LOG), TWO)
            assert taken.holder == TWO
            with pytest.raises(LeaseTaken):
                await first.swap(held, ONE)

        self.play(case)

    def test_a_holder_leaves_in_favour_of_an_heir(self) -> None:
        async def case(handle: Handle) -> None:
            first, second = await handle(), await handle()
            held = await first.swap(await first.look(LOG), ONE)
            left = await first.swap(held, NOBODY, TWO)
            found = await second.look(LOG)
            assert (found.holder, found.heir, found.beat) == (NOBODY, TWO, left.beat)
            assert (await second.swap(found, TWO)).beat == left.beat + 1

        self.play(case)

    def test_logs_have_leases_of_their_own(self) -> None:
        async def case(handle: Handle) -> None:
            election = await handle()
            other = LogId(7)
            await election.swap(await election.look(LOG), ONE)
            await election.swap(await election.look(other), TWO)
            assert (await election.look(LOG)).holder == ONE
            assert (await election.look(other)).holder == TWO

        self.play(case)

    def test_of_many_at_once_one_wins_every_time(self) -> None:
        async def case(handle: Handle) -> None:
            rivals = [(await handle(), NodeId(f"node-{n}")) for n in range(5)]
            for beat in range(1, 6):
                seen = await rivals[0][0].look(LOG)
                results = await asyncio.gather(
                    *(election.swap(seen, name) for election, name in rivals),
                    return_exceptions=True,
                )
                won = [result for result in results if isinstance(result, Lease)]
                lost = [result for result in results if isinstance(result, LeaseTaken)]
                assert (len(won), len(lost)) == (1, len(rivals) - 1), results
                assert won[0].beat == beat
                assert await rivals[1][0].look(LOG) == won[0]

        self.play(case)

    def test_holders_whose_names_differ_in_case_are_two(self) -> None:
        async def case(handle: Handle) -> None:
            election = await handle()
            held = await election.swap(await election.look(LOG), ONE)
            other = msgspec.structs.replace(held, holder=NodeId("ONE"))
            await raises(LeaseTaken, election.swap(other, TWO))
            assert await election.look(LOG) == held

        self.play(case)

    def test_many_open_an_empty_election_at_once(self) -> None:
        async def case(handle: Handle) -> None:
            rivals = [await handle() for _ in range(5)]
            found = await asyncio.gather(*(election.look(LOG) for election in rivals))
            assert found == [Lease(log_id=LOG)] * 5

        self.play(case)


class ElectionServerContract(ElectionContract):
    """As `ElectionContract`, and give `server`: what keeps it. It runs when a test ends."""

    server: Outage

    def test_without_its_server_every_call_is_unavailable_until_it_is_back(self) -> None:
        async def case(handle: Handle) -> None:
            election = await handle()
            held = await election.swap(await election.look(LOG), ONE)
            for away, back in (
                (self.server.kill, self.server.start),
                (self.server.freeze, self.server.thaw),
            ):
                away()
                try:
                    async with asyncio.timeout(LONGEST_S):
                        await asyncio.gather(
                            raises(Unavailable, election.look(LOG)),
                            raises(Unavailable, election.swap(held, ONE)),
                        )
                finally:
                    back()
                # What was refused may have happened all the same: a look tells.
                found = await election.look(LOG)
                assert found.holder == ONE
                held = await election.swap(found, ONE)
                assert held.beat == found.beat + 1

        self.play(case)
