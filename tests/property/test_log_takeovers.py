"""Leaders come, tear their last entry, and go: every reader sees what was acknowledged."""

from __future__ import annotations

import asyncio
import logging
from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from mishards.core.errors import ObjectExists, StorageError
from mishards.core.ids import EntrySeq, Epoch, LogId, NodeId, Timestamp
from mishards.core.runtime import SystemRuntime
from mishards.log.entry import Entry, encode_entry
from mishards.log.store import LogStore
from mishards.storage.layers.fault import Fault, FaultScript, FaultyStore
from mishards.storage.memory import MemoryStore
from mishards.testing.expect import raises

LOG = LogId(0)
Step = tuple[Literal["append", "tear", "take over"], int]

steps = st.lists(
    st.tuples(st.sampled_from(["append", "tear", "take over"]), st.integers(0, 2**16)), max_size=25
)


class Leader:
    """The rules of a leader: read to the end, begin an epoch, append, stop at any error."""

    def __init__(self, log: LogStore, faults: FaultScript) -> None:
        self.log = log
        self.faults = faults
        self.epoch = 0
        self.next_seq = 0

    async def take_over(self) -> Entry:
        last = 0
        async for found, _ in self.log.read_from(EntrySeq(1)):
            last, self.epoch = found.seq, found.epoch
        self.next_seq, skips = await self.log.next_free(EntrySeq(last))
        self.epoch += 1
        return await self.append(f"epoch {self.epoch}", skips)

    async def append(self, leader: str = "", skips: tuple[EntrySeq, ...] = ()) -> Entry:
        entry = Entry(
            log_id=LOG,
            seq=EntrySeq(self.next_seq),
            epoch=Epoch(self.epoch),
            timestamp=Timestamp(self.next_seq),
            leader=NodeId(leader),
            skips=skips,
        )
        await self.log.append(entry)
        self.next_seq += 1
        return entry

    async def tear(self, keep: int) -> None:
        size = len(
            encode_entry(Entry(log_id=LOG, seq=EntrySeq(1), epoch=Epoch(1), timestamp=Timestamp(1)))
        )
        self.faults.add(Fault(keep_bytes=keep % size), operation="create")
        await raises(StorageError, self.append())


async def play(plan: list[Step]) -> None:
    runtime, faults = SystemRuntime(threads=1), FaultScript()
    log = LogStore(FaultyStore(MemoryStore(), faults, runtime), LOG)
    leader, old = Leader(log, faults), None
    acknowledged = [await leader.take_over()]
    for action, number in plan:
        if action == "append":
            acknowledged.append(await leader.append())
            if old is not None:
                await raises(ObjectExists, old.append())
        else:
            if action == "tear":
                await leader.tear(number)
            old, leader = leader, Leader(log, faults)
            acknowledged.append(await leader.take_over())
        assert [found async for found, _ in log.read_from(EntrySeq(1))] == acknowledged
        start = acknowledged[number % len(acknowledged)].seq
        seen = [found.seq async for found, _ in log.read_from(start)]
        assert seen == [entry.seq for entry in acknowledged if entry.seq >= start]
    await runtime.close()


@given(steps)
def test_what_was_acknowledged_is_read_and_nothing_else(plan: list[Step]) -> None:
    logging.getLogger("mishards.log.store").disabled = True
    try:
        asyncio.run(play(plan))
    finally:
        logging.getLogger("mishards.log.store").disabled = False
