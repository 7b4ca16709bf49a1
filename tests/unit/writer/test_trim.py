"""What is trimmed of a log, when, and what a crash in between leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from mishards.cluster.peers import PeerStatus
from mishards.core.errors import Fenced, StorageError, Unavailable
from mishards.core.ids import EntrySeq, Epoch, LogId, MetadataVersion, NodeId, Timestamp
from mishards.discovery.protocol import NodeInfo
from mishards.log.entry import Entry
from mishards.log.store import LogStore
from mishards.metadata.memory import MemoryMetadataStore
from mishards.metadata.models import LogMeta
from mishards.metadata.snapshot import MetadataSnapshot
from mishards.rpc.messages import StatusReply
from mishards.storage.layers.fault import Fault, FaultScript, FaultyStore
from mishards.storage.memory import MemoryStore
from mishards.storage.pins import PinWatch, pinned
from mishards.testing.clock import VirtualRuntime, run_virtual
from mishards.testing.writer_bench import Recorder
from mishards.writer.catalog import Catalog
from mishards.writer.config import WriterConfig
from mishards.writer.edit import Edit
from mishards.writer.trim import LogEnds, LogTrimmer, positions, trim_point

LOG = LogId(0)
LAST = 40
_seq = EntrySeq


def ends_at(replay_from: int = LAST, keep_from: int = LAST, last: int = LAST) -> LogEnds:
    return LogEnds(replay_from=_seq(replay_from), keep_from=_seq(keep_from), last=_seq(last))


def test_the_least_of_all_needs_decides() -> None:
    assert trim_point(ends_at(), []) == LAST
    assert trim_point(ends_at(replay_from=7), []) == 7
    assert trim_point(ends_at(keep_from=8), []) == 8
    assert trim_point(ends_at(), [_seq(30), _seq(11)]) == 12
    assert trim_point(ends_at(replay_from=50, keep_from=60), [_seq(LAST)]) == LAST


def status_of(name: str, role: str, applied: dict[LogId, EntrySeq] | None) -> PeerStatus:
    node = NodeInfo(id=NodeId(name), roles=(role,), address=f"mem://{name}")
    if applied is None:
        return PeerStatus(node, None)
    return PeerStatus(
        node,
        StatusReply(node=name, roles=(role,), version=MetadataVersion(1), applied_seq=applied),
    )


def test_a_reader_that_does_not_say_where_it_is_may_need_all() -> None:
    peers = [
        status_of("r1", "reader", {LOG: _seq(5)}),
        status_of("r2", "reader", {LogId(1): _seq(9)}),
        status_of("r3", "reader", None),
        status_of("p", "proxy", None),
        status_of("w", "writer", {}),
    ]
    assert positions(peers, LOG) == [5, 0, 0]
    assert positions(peers, LogId(1)) == [0, 9, 0]


class Bench:
    """A trimmer, and all that it looks at."""

    def __init__(self) -> None:
        self.runtime = VirtualRuntime("trim")
        self.memory = MemoryStore()
        self.faults = FaultScript()
        self.metadata = MemoryMetadataStore()
        self.ends = ends_at()
        self.applied: dict[str, int | None] = {"r1": LAST}
        self.reachable = True

    async def start(self) -> None:
        await self.metadata.begin_epoch(LOG, Epoch(1))
        self.catalog = self._catalog()
        log = LogStore(self.memory, LOG)
        for seq in range(1, LAST + 1):
            await log.append(
                Entry(log_id=LOG, seq=_seq(seq), epoch=Epoch(1), timestamp=Timestamp(seq))
            )
        await self.put(LogMeta(id=LOG, epoch=Epoch(1), fences=(_seq(0), _seq(1), _seq(9))))

    def _catalog(self) -> Catalog:
        return Catalog(
            self.metadata,
            cast(Any, Recorder()),
            LOG,
            Epoch(1),
            MetadataSnapshot.empty(),
            lambda snapshot: None,
            lambda error: None,
        )

    def trimmer(self, **settings: Any) -> LogTrimmer:
        store = FaultyStore(self.memory, self.faults, self.runtime)
        return LogTrimmer(
            self.runtime,
            WriterConfig(**{"log_keep_entries": 16, **settings}),
            LogStore(store, LOG),
            self.catalog,
            cast(Any, self),
            PinWatch(store, self.runtime),
            LOG,
            lambda: self.ends,
        )

    async def statuses(self) -> tuple[PeerStatus, ...]:
        if not self.reachable:
            raise Unavailable("no registry")
        return tuple(
            status_of(name, "reader", None if seq is None else {LOG: _seq(seq)})
            for name, seq in self.applied.items()
        )

    async def put(self, meta: LogMeta) -> None:
        await self.catalog.commit(lambda snapshot: Edit((meta,)))

    @property
    def meta(self) -> LogMeta:
        return self.catalog.snapshot.logs[LOG]

    async def held(self) -> list[int]:
        return [int(info.key[-20:]) for info in await self.memory.list("log/0/")]


def run(case: Callable[[Bench], Awaitable[None]]) -> None:
    async def scene() -> None:
        bench = Bench()
        await bench.start()
        await case(bench)

    run_virtual(scene())


def test_metadata_says_it_first_and_fences_stay() -> None:
    async def case(bench: Bench) -> None:
        bench.ends = ends_at(replay_from=30, keep_from=20)
        assert await bench.trimmer().trim() == 17
        assert (bench.meta.replay_from, bench.meta.trimmed) == (30, 20)
        assert await bench.held() == [1, 9, *range(20, LAST + 1)]

    run(case)


def test_the_next_look_goes_on_where_the_last_one_ended() -> None:
    async def case(bench: Bench) -> None:
        trimmer = bench.trimmer()
        bench.ends = ends_at(replay_from=20)
        assert await trimmer.trim() == 17
        assert await trimmer.trim() == 0
        bench.ends = ends_at(replay_from=25)
        assert await trimmer.trim() == 5
        assert await bench.held() == [1, 9, *range(25, LAST + 1)]

    run(case)


def test_a_few_entries_are_not_worth_a_commit() -> None:
    async def case(bench: Bench) -> None:
        trimmer = bench.trimmer(log_keep_entries=160)
        version = bench.catalog.snapshot.version
        bench.ends = ends_at(replay_from=10)
        assert await trimmer.trim() == 0
        assert bench.catalog.snapshot.version == version
        bench.ends = ends_at(replay_from=11)
        assert await trimmer.trim() == 8

    run(case)


def test_what_a_live_node_has_yet_to_apply_stays() -> None:
    async def case(bench: Bench) -> None:
        trimmer = bench.trimmer()
        bench.applied = {"r1": LAST, "r2": 14}
        await trimmer.trim()
        assert min(set(await bench.held()) - {1, 9}) == 15
        bench.applied["r3"] = None
        bench.ends = ends_at()
        assert await trimmer.trim() == 0
        assert bench.meta.trimmed == 15
        del bench.applied["r3"]
        bench.applied["r2"] = LAST
        assert await trimmer.trim() == LAST - 15

    run(case)


def test_a_node_that_is_behind_what_was_announced_is_waited_for() -> None:
    async def case(bench: Bench) -> None:
        await bench.put(LogMeta(id=LOG, epoch=Epoch(1), replay_from=_seq(30), trimmed=_seq(30)))
        bench.applied = {"late": 12}
        trimmer = bench.trimmer()
        assert await trimmer.trim() == 0
        bench.applied = {"late": 29}
        assert await trimmer.trim() == 29

    run(case)


def test_a_pin_and_a_silent_registry_hold_all_back() -> None:
    async def case(bench: Bench) -> None:
        trimmer = bench.trimmer()
        async with pinned(bench.memory, bench.runtime, "backup"):
            assert await trimmer.trim() == 0
        bench.reachable = False
        with pytest.raises(Unavailable):
            await trimmer.trim()
        assert len(await bench.held()) == LAST
        bench.reachable = True
        assert await trimmer.trim() == LAST - 3

    run(case)


def test_what_a_crash_left_behind_is_found_by_the_next_reign() -> None:
    async def case(bench: Bench) -> None:
        key = LogStore(bench.memory, LOG).key(_seq(12))
        bench.faults.add(Fault(error=StorageError), operation="delete", key=key)
        bench.ends = ends_at(replay_from=30)
        with pytest.raises(StorageError):
            await bench.trimmer().trim()
        assert bench.meta.trimmed == 30
        assert await bench.held() == [1, 9, *range(12, LAST + 1)]
        assert await bench.trimmer().trim() == 18
        assert await bench.held() == [1, 9, *range(30, LAST + 1)]

    run(case)


def test_who_reigns_no_longer_trims_nothing() -> None:
    async def case(bench: Bench) -> None:
        await bench.metadata.begin_epoch(LOG, Epoch(2))
        with pytest.raises(Fenced):
            await bench.trimmer().trim()
        assert len(await bench.held()) == LAST

    run(case)


def test_it_goes_on_by_itself_after_errors() -> None:
    async def case(bench: Bench) -> None:
        bench.reachable = False
        task = asyncio.ensure_future(bench.trimmer(collect_interval_s=5.0).run())
        await asyncio.sleep(6.0)
        bench.reachable = True
        await asyncio.sleep(5.0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await bench.held() == [1, 9, LAST]

    run(case)
