"""Who may claim a log's lease, judged on the observer's clock alone."""

from __future__ import annotations

import asyncio

import pytest

from mishards.cluster.campaign import Campaign, LeaseWatch
from mishards.core.errors import LeaseTaken, Unavailable
from mishards.core.ids import LogId, NodeId
from mishards.discovery.election import NOBODY, Lease
from mishards.discovery.election_memory import MemoryElection
from mishards.testing.stepped import SteppedRuntime

LOG, ME, OTHER = LogId(0), NodeId("me"), NodeId("other")
LEASE_S = 3.0


def lease(holder: NodeId, beat: int, heir: NodeId = NOBODY) -> Lease:
    return Lease(log_id=LOG, holder=holder, heir=heir, beat=beat)


def watched(*looks: tuple[Lease, float]) -> LeaseWatch:
    watch = LeaseWatch(LEASE_S)
    for seen, now_s in looks:
        watch.look(seen, now_s)
    return watch


def test_a_free_log_is_claimed_at_once() -> None:
    assert watched((lease(NOBODY, 0), 0.0)).may_claim(ME)


def test_what_was_left_to_another_is_his_until_he_was_silent_for_long() -> None:
    left = lease(NOBODY, 4, heir=OTHER)
    assert not watched((left, 0.0)).may_claim(ME)
    assert watched((left, 0.0)).may_claim(OTHER)
    assert watched(*((left, float(second)) for second in range(5))).may_claim(ME)


def test_a_lease_expires_when_its_beat_stood_still_for_its_length() -> None:
    held = lease(OTHER, 1)
    looks = [(held, 0.5 * step) for step in range(6)]
    assert not watched(*looks).may_claim(ME)
    assert watched(*looks, (held, 3.0)).may_claim(ME)


def test_a_beat_that_rises_is_a_sign_of_life() -> None:
    looks = [(lease(OTHER, step), float(step)) for step in range(20)]
    assert not watched(*looks).may_claim(ME)


def test_a_pause_of_the_observer_is_no_silence_of_the_holder() -> None:
    held = lease(OTHER, 1)
    assert not watched((held, 0.0), (held, 1000.0)).may_claim(ME)


def test_before_the_first_look_nothing_is_claimed() -> None:
    assert not LeaseWatch(LEASE_S).may_claim(ME)


def test_a_winner_keeps_its_lease_until_another_has_it() -> None:
    async def scene() -> None:
        runtime, election = SteppedRuntime(), MemoryElection()
        campaign = Campaign(runtime, election, LOG, ME, LEASE_S)
        assert await campaign.try_to_win()
        keeping = asyncio.create_task(campaign.keep())
        for beat in range(2, 6):
            await _until_asleep(runtime, LEASE_S / 3)
            assert await election.look(LOG) == lease(ME, beat)
        await election.swap(await election.look(LOG), OTHER)
        await _until_asleep(runtime, LEASE_S / 3)
        assert isinstance(await keeping, LeaseTaken)
        assert await election.look(LOG) == lease(OTHER, 6)
        await runtime.close()

    asyncio.run(scene())


def test_an_election_that_cannot_be_reached_ends_no_reign_and_begins_none() -> None:
    class Down(MemoryElection):
        down = False

        async def look(self, log_id: LogId) -> Lease:
            if self.down:
                raise Unavailable("down")
            return await super().look(log_id)

    async def scene() -> None:
        runtime, election = SteppedRuntime(), Down()
        campaign = Campaign(runtime, election, LOG, ME, LEASE_S)
        election.down = True
        assert not await campaign.try_to_win()
        election.down = False
        assert await campaign.try_to_win()
        keeping = asyncio.create_task(campaign.keep())
        election.down = True
        for _ in range(10):
            await _until_asleep(runtime, LEASE_S)
        election.down = False
        await _until_asleep(runtime, LEASE_S)
        assert await election.look(LOG) == lease(ME, 2)
        keeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await keeping
        await runtime.close()

    asyncio.run(scene())


def test_whoever_leaves_names_an_heir_and_touches_no_lease_of_another() -> None:
    async def scene() -> None:
        runtime, election = SteppedRuntime(), MemoryElection()
        campaign = Campaign(runtime, election, LOG, ME, LEASE_S)
        await campaign.try_to_win()
        await campaign.leave(OTHER)
        assert await election.look(LOG) == lease(NOBODY, 2, heir=OTHER)
        taken = await election.swap(await election.look(LOG), OTHER)
        await campaign.leave()
        assert await election.look(LOG) == taken
        await runtime.close()

    asyncio.run(scene())


def test_without_rivals_any_lease_is_claimed() -> None:
    async def scene() -> None:
        runtime, election = SteppedRuntime(), MemoryElection()
        await election.swap(await election.look(LOG), OTHER)
        campaign = Campaign(runtime, election, LOG, ME, LEASE_S, unrivalled=True)
        assert await campaign.try_to_win()
        await runtime.close()

    asyncio.run(scene())


async def _until_asleep(runtime: SteppedRuntime, seconds: float) -> None:
    """Let time pass once somebody waits for it, and let what that wakes run."""
    while not runtime.sleepers:  # noqa: ASYNC110
        await asyncio.sleep(0)
    runtime.advance(seconds)
    for _ in range(10):
        await asyncio.sleep(0)
