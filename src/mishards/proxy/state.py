"""What a proxy knows: the newest metadata snapshot and how far each log has come.

Fed as a sink of the logs and of metadata. Snapshot and positions are replaced, never changed, so
any thread may read them.
"""

from __future__ import annotations

import asyncio
import math

import msgspec

from mishards.core.ids import EntrySeq, LogId, MetadataVersion, Timestamp
from mishards.core.runtime import Runtime
from mishards.core.timestamps import compose
from mishards.log.entry import Entry
from mishards.metadata.protocol import Changes
from mishards.metadata.snapshot import MetadataSnapshot


class KnownLog(msgspec.Struct, frozen=True):
    """How far a proxy has seen a log.

    Attributes:
        timestamp: every mutation up to this is in the entries up to `seq`.
        heard_s: when the log was last heard of, on the monotonic clock.
    """

    seq: EntrySeq = EntrySeq(0)
    timestamp: Timestamp = Timestamp(0)
    heard_s: float = -math.inf


_UNHEARD = KnownLog()


class ProxyState:
    """The proxy's view of the world, and the wait for a metadata version."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._waiters: list[tuple[MetadataVersion, asyncio.Future[None]]] = []
        self._logs: dict[LogId, KnownLog] = {}
        self.snapshot = MetadataSnapshot.empty()

    def log(self, log_id: LogId) -> KnownLog:
        """What is known of a log; of one never heard of, nothing."""
        return self._logs.get(log_id, _UNHEARD)

    def log_time(self, log_id: LogId) -> Timestamp:
        """What time it is by the clock of the log's leader, going on from what was heard last; by
        the own clock where nothing was."""
        known = self.log(log_id)
        if not known.timestamp:
            return compose(self._runtime.now_ms())
        since_ms = int(1000 * (self._runtime.monotonic_s() - known.heard_s))
        return Timestamp(known.timestamp + compose(since_ms))

    def logs(self) -> dict[LogId, KnownLog]:
        """All logs heard of."""
        return dict(self._logs)

    def apply_entry(self, entry: Entry) -> None:
        self.apply_tick(entry.log_id, entry.seq, entry.timestamp)

    def apply_tick(self, log: LogId, seq: EntrySeq, timestamp: Timestamp) -> None:
        known = self.log(log)
        self._logs[log] = KnownLog(
            max(known.seq, seq), max(known.timestamp, timestamp), self._runtime.monotonic_s()
        )

    async def begin_again(self, log: LogId, next_seq: EntrySeq) -> None:
        """Nothing of the log is held here: what comes next says how far it has come."""

    def apply_changes(self, changes: Changes) -> None:
        self.snapshot = self.snapshot.apply(changes)
        ready = [f for version, f in self._waiters if version <= self.snapshot.version]
        self._waiters = [w for w in self._waiters if w[0] > self.snapshot.version]
        for future in ready:
            if not future.done():
                future.set_result(None)

    async def wait_for(self, version: MetadataVersion, timeout_s: float) -> None:
        """Return once the snapshot is at `version` or newer.

        Raises:
            TimeoutError: it did not come in time.
        """
        if self.snapshot.version >= version:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((version, future))

        async def arrival() -> None:
            await future

        await self._runtime.timeout(arrival(), timeout_s)
