"""Standing by, taking over and handing over, with writers that share stores in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from mishards.cluster.campaign import Campaign
from mishards.core import errors
from mishards.core.ids import LogId, NodeId
from mishards.discovery.election_memory import MemoryElection
from mishards.discovery.protocol import NodeInfo
from mishards.log.entry import Entry, encode_entry
from mishards.rpc.memory import MemoryTransport
from mishards.rpc.messages import (
    CreateCollection,
    HandedOver,
    HandOver,
    NewestTimestamp,
    TimestampReply,
)
from mishards.testing.writer_bench import (
    CONTEXT,
    Bench,
    bench_open,
    make_schema,
    token,
    until,
    write_of,
)
from mishards.writer.candidate import Candidate

LOG = LogId(0)
LEASE_S = 0.3


class Stand:
    """Candidates for one log, reachable by name."""

    def __init__(self, bench: Bench, lease_s: float = LEASE_S) -> None:
        self.bench = bench
        self.lease_s = lease_s
        self.election = MemoryElection()
        self.transport = MemoryTransport(bench.runtime)
        self.candidates: dict[str, Candidate] = {}
        self.listeners: list[Any] = []

    async def add(self, name: str) -> Candidate:
        bench = self.bench
        config = type(bench.config)(
            lease_s=self.lease_s, standby_poll_s=0.01, tick_s=0.01, flush_check_s=3600.0
        )
        candidate = Candidate(
            bench.runtime,
            config,
            bench.store,
            bench.metadata,
            self.transport,
            Campaign(bench.runtime, self.election, LOG, NodeId(name), self.lease_s),
            NodeId(name),
            LOG,
            peers=cast(Any, None),
            others=lambda: [
                NodeInfo(id=NodeId(other), roles=("writer",), address=f"mem://{other}")
                for other in self.candidates
                if other != name
            ],
            on_role=self._on_role,
            builder=bench.builder,
        )
        self.candidates[name] = candidate
        self.listeners.append(await self.transport.listen(f"mem://{name}", candidate))
        await candidate.start()
        return candidate

    async def _on_role(self) -> None:
        assert sum(candidate.leads for candidate in self.candidates.values()) <= 1

    async def close(self) -> None:
        for candidate in self.candidates.values():
            await candidate.close()
        for listener in self.listeners:
            await listener.close()
        await self.transport.close()


@asynccontextmanager
async def stand_open(lease_s: float = LEASE_S) -> AsyncIterator[Stand]:
    async with bench_open() as bench:
        stand = Stand(bench, lease_s)
        try:
            yield stand
        finally:
            await stand.close()


async def ask(candidate: Candidate, message: Any) -> Any:
    return await candidate.handle(message, CONTEXT)


def test_the_first_leads_and_the_others_say_that_they_do_not() -> None:
    async def scene() -> None:
        async with stand_open() as stand:
            one, two = await stand.add("one"), await stand.add("two")
            assert (one.leads, two.leads) == (True, False)
            with pytest.raises(errors.NotLeader, match="stands by"):
                await ask(two, NewestTimestamp())
            assert two.handle_now(NewestTimestamp()) is None

    asyncio.run(scene())


def test_a_standby_that_has_started_has_read_the_log() -> None:
    async def scene() -> None:
        async with stand_open() as stand:
            one = await stand.add("one")
            await ask(one, CreateCollection(database="", schema=make_schema()))
            written = await ask(one, write_of(await stand.bench.view(), [1]))
            two = await stand.add("two")
            assert not two.leads
            assert two._standby.replay.next_seq > written.seq

    asyncio.run(scene())


def test_a_standby_takes_over_from_a_leader_that_leaves_with_all_it_acknowledged() -> None:
    async def scene() -> None:
        async with stand_open() as stand:
            one, two = await stand.add("one"), await stand.add("two")
            await ask(one, CreateCollection(database="", schema=make_schema()))
            view = await stand.bench.view()
            message = write_of(view, [1, 2], with_token=token())
            answer = await ask(one, message)
            await one.close()
            await until(lambda: two.leads)
            assert await ask(two, message) == answer
            assert two._writer is not None
            assert two._writer.status().growing_rows == {view.id: 2}

    asyncio.run(scene())


def test_a_standby_takes_over_from_a_leader_that_is_silent() -> None:
    async def scene() -> None:
        async with stand_open() as stand:
            one, two = await stand.add("one"), await stand.add("two")
            assert one._task is not None
            one._task.cancel()  # as when its process stands still: nobody renews the lease
            await until(lambda: two.leads)
            with pytest.raises(errors.NotLeader):
                await ask(one, NewestTimestamp())
            assert not one.leads
            assert isinstance(await ask(two, NewestTimestamp()), TimestampReply)

    asyncio.run(scene())


def test_a_standby_does_not_wait_for_the_lease_of_a_leader_whose_process_ended() -> None:
    async def scene() -> None:
        async with stand_open(lease_s=5.0) as stand:
            one, two = await stand.add("one"), await stand.add("two")
            await asyncio.sleep(0.01)
            assert one._task is not None
            one._task.cancel()
            began_s = stand.bench.runtime.monotonic_s()
            await stand.listeners[0].close()
            await until(lambda: two.leads)
            assert stand.bench.runtime.monotonic_s() - began_s < 4.0

    asyncio.run(scene())


def test_a_handover_leaves_no_moment_for_a_third() -> None:
    async def scene() -> None:
        async with stand_open() as stand:
            one = await stand.add("one")
            two, three = await stand.add("two"), await stand.add("three")
            await ask(one, CreateCollection(database="", schema=make_schema()))
            answer = await ask(one, HandOver(log=LOG, to=NodeId("three")))
            assert isinstance(answer, HandedOver)
            assert answer.leader == "three"
            assert (one.leads, two.leads, three.leads) == (False, False, True)
            view = await stand.bench.view()
            await ask(three, write_of(view, [1]))
            with pytest.raises(errors.NotLeader, match="three"):
                await ask(one, write_of(view, [2]))
            await ask(three, HandOver(log=LOG))
            assert sum(c.leads for c in (one, two)) == 1

    asyncio.run(scene())


def test_a_reign_that_ends_while_an_earlier_handover_is_not_answered_is_over() -> None:
    async def scene() -> None:
        async with stand_open() as stand:
            one, two = await stand.add("one"), await stand.add("two")
            assert two._task is not None
            two._task.cancel()  # it is ready, and then does not lead
            handing_over = asyncio.ensure_future(ask(one, HandOver(log=LOG)))
            await until(lambda: one._writer is None)
            await until(lambda: one.leads)
            assert one._writer is not None
            one._writer.step_down(errors.Fenced("another leads"))
            await until(lambda: one._writer is None)
            with pytest.raises(errors.NotLeader, match=r"stands by: .*another leads"):
                await ask(one, NewestTimestamp())
            assert not handing_over.done()
            two._led.set()
            await handing_over

    asyncio.run(scene())


def test_a_handover_goes_on_when_whoever_asked_for_it_goes() -> None:
    async def scene() -> None:
        async with stand_open() as stand:
            one, two = await stand.add("one"), await stand.add("two")
            assert one._writer is not None
            in_flight = one._writer._quiet
            in_flight.clear()  # as while a call waits for storage
            asked = asyncio.ensure_future(ask(one, HandOver(log=LOG)))
            await until(lambda: one._writer is None)
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
            in_flight.set()
            await until(lambda: two.leads)
            assert not one.leads

    asyncio.run(scene())


def test_without_a_standby_a_leader_goes_on() -> None:
    async def scene() -> None:
        async with stand_open() as stand:
            one = await stand.add("one")
            with pytest.raises(errors.NotReady, match="no standby"):
                await ask(one, HandOver(log=LOG))
            with pytest.raises(errors.InvalidParameter, match="'nobody' is no standby"):
                await ask(one, HandOver(log=LOG, to=NodeId("nobody")))
            assert one.leads

    asyncio.run(scene())


def test_writes_during_handovers_are_applied_once_each() -> None:
    async def scene() -> None:
        async with stand_open() as stand:
            for name in ("one", "two", "three"):
                await stand.add(name)
            await ask(stand.candidates["one"], CreateCollection(database="", schema=make_schema()))
            view = await stand.bench.view()
            done: list[int] = []

            async def keep_writing(first: int) -> None:
                for key in range(first, first + 40):
                    message = write_of(view, [key], with_token=token())
                    while True:
                        leader = next((c for c in stand.candidates.values() if c.leads), None)
                        try:
                            if leader is not None:
                                await ask(leader, message)
                                break
                        except (errors.NotLeader, errors.NotReady):
                            pass
                        await asyncio.sleep(0.001)
                    done.append(key)

            async def keep_handing_over() -> None:
                while len(done) < 100:
                    leader = next(c for c in stand.candidates.values() if c.leads)
                    await ask(leader, HandOver(log=LOG))

            await asyncio.gather(*(keep_writing(100 * n) for n in range(3)), keep_handing_over())
            leader = next(c for c in stand.candidates.values() if c.leads)
            assert leader._writer is not None
            assert leader._writer.status().growing_rows == {view.id: 120}

    asyncio.run(scene())


def test_a_leader_that_cannot_write_steps_aside_and_may_lead_again() -> None:
    async def scene() -> None:
        async with stand_open() as stand:
            one = await stand.add("one")
            await ask(one, CreateCollection(database="", schema=make_schema()))
            view = await stand.bench.view()
            stand.bench.store.fail_before = errors.StorageError("EIO")
            message = write_of(view, [1], with_token=token())
            with pytest.raises(errors.StorageError, match="EIO"):
                await ask(one, message)
            await until(lambda: not one.leads)
            stand.bench.store.fail_before = None
            await until(lambda: one.leads)
            await ask(one, message)

    asyncio.run(scene())


def test_a_strong_read_is_not_answered_once_another_has_begun_its_epoch() -> None:
    async def scene() -> None:
        async with stand_open() as stand:
            one = await stand.add("one")
            assert one._writer is not None
            rival = Entry(
                log_id=LOG,
                seq=cast(Any, 2),
                epoch=cast(Any, 9),
                timestamp=cast(Any, 1 << 62),
                leader=NodeId("rival"),
            )
            assert isinstance(await ask(one, NewestTimestamp()), TimestampReply)
            await stand.bench.store.put("log/0/00000000000000000002", encode_entry(rival))
            with pytest.raises(errors.NotLeader, match="epoch 9"):
                await ask(one, NewestTimestamp())

    asyncio.run(scene())


def test_a_damaged_log_ends_a_standby_and_names_the_object() -> None:
    async def scene() -> None:
        async with stand_open() as stand:
            one, two = await stand.add("one"), await stand.add("two")
            await ask(one, CreateCollection(database="", schema=make_schema()))
            view = await stand.bench.view()
            for key in range(3):
                await ask(one, write_of(view, [key]))
            damaged = "log/0/00000000000000000002"
            data = bytearray(await stand.bench.store.get(damaged))
            data[-1] ^= 1
            await stand.bench.store.put(damaged, bytes(data))
            two._standby = two._new_standby()
            with pytest.raises(errors.CorruptObject, match=damaged):
                await two.failed

    asyncio.run(scene())
