"""A log cut or changed on storage: what was acknowledged is found by leaders and readers, or the
damage is, by name.

R15 of the reliability plan.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mishards.core.errors import CorruptObject, MishardsError
from mishards.core.ids import EntrySeq, LogId
from mishards.log.entry import TornEntry
from mishards.log.store import LogStore
from mishards.metadata.memory import MemoryMetadataStore
from mishards.storage.memory import MemoryStore
from mishards.testing.clock import VirtualRuntime, run_virtual
from mishards.testing.writer_bench import bench_open, delete, flush, insert, make_schema
from mishards.writer.config import WriterConfig
from mishards.writer.standby import Standby

LOG = LogId(0)


class Log(NamedTuple):
    """Objects of a log that a leader wrote, some of it sealed, and its metadata.

    Attributes:
        acknowledged: tokens of all mutations in entries that a start reads.
    """

    objects: dict[str, bytes]
    metadata: MemoryMetadataStore
    replay_from: int
    acknowledged: dict[int, set[bytes]]


@pytest.fixture(scope="module")
def log() -> Log:
    async def write() -> Log:
        async with bench_open() as bench:
            writer = await bench.writer(replay_tail_bytes=0)
            view = await bench.collection(writer, make_schema())
            await insert(writer, view, [1, 2])
            await insert(writer, view, [3])
            await flush(writer, view.id)
            for key in range(4, 8):
                await insert(writer, view, [key])
            await delete(writer, view, [4, 5])
            objects = {
                info.key: await bench.store.get(info.key) for info in await bench.store.list("log/")
            }
            first = (await bench.snapshot()).logs[LOG].replay_from
            store = LogStore(bench.store, LOG)
            entries = [entry async for entry, _ in store.read_from(EntrySeq(first))]
            tokens = {one.seq: {m.token for m in one.mutations} for one in entries}
            return Log(objects, bench.metadata, first, tokens)

    return asyncio.run(write())


async def standby_on(log: Log, objects: dict[str, bytes]) -> tuple[Standby, LogStore]:
    store = MemoryStore()
    for key, data in objects.items():
        await store.put(key, data)
    runtime, stored = VirtualRuntime("damage"), LogStore(store, LOG)
    return Standby(runtime, WriterConfig(), stored, LOG, log.metadata), stored


async def read(log: Log, objects: dict[str, bytes]) -> tuple[set[bytes], set[bytes]]:
    """The tokens that a writer about to lead finds, and those that a follower does."""
    standby, stored = await standby_on(log, objects)
    entries = [entry async for entry, _ in stored.read_from(EntrySeq(log.replay_from))]
    followed = {mutation.token for entry in entries for mutation in entry.mutations}
    await standby.keep_up()
    every = {token for tokens in log.acknowledged.values() for token in tokens}
    return {token for token in every if standby.replay.tokens.get(token)}, followed


def last_key(log: Log) -> str:
    return max(log.objects)


def test_cut_at_every_byte_of_its_last_entry_the_log_holds_all_before(log: Log) -> None:
    """The last entry stands for one that was being written: whole it counts, cut it does not."""
    logging.getLogger("mishards.log.store").disabled = True
    key = last_key(log)
    *before, last = (log.acknowledged[seq] for seq in sorted(log.acknowledged))
    expected = {token for tokens in before for token in tokens}
    assert expected
    assert last

    async def scene() -> None:
        whole = log.objects[key]
        assert await read(log, log.objects) == (expected | last, expected | last)
        for length in range(len(whole)):
            cut = {**log.objects, key: whole[:length]}
            assert await read(log, cut) == (expected, expected), f"cut after {length} bytes"
            _, stored = await standby_on(log, cut)
            seq = EntrySeq(int(key[-20:]))
            assert await stored.next_free(EntrySeq(seq - 1)) == (seq + 1, (seq,))

    try:
        run_virtual(scene())
    finally:
        logging.getLogger("mishards.log.store").disabled = False


def test_cut_anywhere_else_the_log_is_damaged_and_the_entry_named(log: Log) -> None:
    keys = sorted(key for key in log.objects if int(key[-20:]) >= log.replay_from)[:-1]

    async def scene() -> None:
        for key in keys:
            for length in (0, 1, 23, 24, 27, 28, 60, len(log.objects[key]) - 1):
                await _is_found(log, {**log.objects, key: log.objects[key][:length]}, key)

    run_virtual(scene())


@settings(max_examples=150)
@given(st.data())
def test_a_flipped_bit_anywhere_in_the_log_is_found_and_named(log: Log, data: Any) -> None:
    keys = sorted(key for key in log.objects if int(key[-20:]) >= log.replay_from)
    key = data.draw(st.sampled_from(keys))
    place = data.draw(st.integers(0, 8 * len(log.objects[key]) - 1))
    changed = bytearray(log.objects[key])
    changed[place // 8] ^= 1 << place % 8
    run_virtual(_is_found(log, {**log.objects, key: bytes(changed)}, key))


@settings(max_examples=30)
@given(st.data())
def test_what_no_start_reads_harms_none(log: Log, data: Any) -> None:
    """Entries before `replay_from` may be damaged, or trimmed."""
    keys = [key for key in log.objects if int(key[-20:]) < log.replay_from]
    key = data.draw(st.sampled_from(sorted(keys)))
    objects = {**log.objects, key: b"rubbish"}
    if data.draw(st.booleans()):
        del objects[key]
    every = {token for tokens in log.acknowledged.values() for token in tokens}
    assert run_virtual(read(log, objects)) == (every, every)


async def _is_found(log: Log, objects: dict[str, bytes], key: str) -> None:
    """Neither a leader to come nor a follower takes it for sound; both name the object."""
    standby, stored = await standby_on(log, objects)
    errors: list[MishardsError] = []
    try:
        await standby.keep_up()
    except CorruptObject as error:
        errors.append(error)
    try:
        async for _ in stored.read_from(EntrySeq(log.replay_from)):
            pass
    except CorruptObject as error:
        errors.append(error)
    assert len(errors) == 2, f"not found: {key}"
    for error in errors:
        assert key in error.message
        assert not isinstance(error, TornEntry)


def test_the_log_under_test_has_sealed_and_growing_entries(log: Log) -> None:
    assert 1 < log.replay_from < int(last_key(log)[-20:])
