"""What a proxy knows: the newest metadata snapshot and how far the log has come.

Fed by a `LogFollower` as a `FollowSink`. Snapshot and timestamp are replaced, never changed, so
any thread may read them.
"""

from __future__ import annotations

import asyncio
import math

from mishards.core.ids import EntrySeq, LogId, MetadataVersion, Timestamp
from mishards.core.runtime import Runtime
from mishards.log.entry import Entry
from mishards.metadata.protocol import Changes
from mishards.metadata.snapshot import MetadataSnapshot


class ProxyState:
    """The proxy's view of the world, and the wait for a metadata version."""

    def __init__(self, runtime: Runtime, log_id: LogId) -> None:
        self._runtime = runtime
        self._log_id = log_id
        self._waiters: list[tuple[MetadataVersion, asyncio.Future[None]]] = []
        self.snapshot = MetadataSnapshot.empty()
        self.known_ts = Timestamp(0)
        """Every mutation up to this is in the log as this proxy has seen it."""
        self.known_seq = EntrySeq(0)
        self.heard_s = -math.inf
        """When the log was last heard of, on the monotonic clock."""

    def apply_entry(self, entry: Entry) -> None:
        self.apply_tick(entry.seq, entry.timestamp)

    def apply_tick(self, seq: EntrySeq, timestamp: Timestamp) -> None:
        self.known_seq = max(self.known_seq, seq)
        self.known_ts = max(self.known_ts, timestamp)
        self.heard_s = self._runtime.monotonic_s()

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
