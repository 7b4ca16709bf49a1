"""What follows the logs on a node: a follower for each, and one copy of the metadata for all.

Invariant: a log that metadata begins to name is followed from then on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from mishards.cluster.following import LogFollower
from mishards.cluster.membership import Membership
from mishards.cluster.metadata_following import MetadataFollower
from mishards.core.errors import NotReady
from mishards.core.ids import EntrySeq, LogId
from mishards.log.store import LogStore
from mishards.metadata.protocol import Changes
from mishards.metadata.snapshot import MetadataSnapshot
from mishards.observability.instruments import Reading
from mishards.observability.metrics import LOG_FOLLOWED, LOG_LAG_ENTRIES
from mishards.rpc.protocol import Transport
from mishards.server.follow import RoleSink
from mishards.server.seams import Seams


class Followers:
    """All followers of a node. From the loop's thread."""

    def __init__(
        self,
        seams: Seams,
        transport: Transport,
        membership: Membership,
        sink: RoleSink,
        snapshot: MetadataSnapshot,
        logs: int,
        *,
        entries: bool,
    ) -> None:
        """Followers that do not run yet.

        Args:
            snapshot: the metadata that the sink has.
            logs: how many there are at least, whether metadata names them yet or not.
            entries: whether the entries of the logs are needed, or positions only.
        """
        self._seams = seams
        self._transport = transport
        self._membership = membership
        self._sink = sink
        self._entries = entries
        self._metadata = MetadataFollower(seams.metadata, self, snapshot.version)
        self._followers: dict[LogId, LogFollower] = {}
        self._running: dict[asyncio.Task[None], LogId] = {}
        self._more = asyncio.Event()
        for log_id in sorted({*map(LogId, range(logs)), *snapshot.logs}):
            log = snapshot.logs.get(log_id)
            self._add(log_id, EntrySeq(1) if log is None else log.replay_from)

    def readings(self) -> Iterator[Reading]:
        """What metrics say of following."""
        for log_id, follower in self._followers.items():
            labels = (str(log_id),)
            yield Reading(LOG_FOLLOWED, follower.leader is not None, labels)
            if self._entries:
                yield Reading(LOG_LAG_ENTRIES, follower.behind, labels)

    async def catch_up(self, log_id: LogId) -> None:
        """Read a log on storage to its end; as `LogFollower.catch_up`.

        Raises:
            NotReady: the log is not known here.
        """
        if (follower := self._followers.get(log_id)) is None:
            raise NotReady(f"log {log_id} is not followed here")
        await follower.catch_up()

    def streamed(self, log_id: LogId) -> bool:
        """Whether a leader's stream of the log is heard."""
        follower = self._followers.get(log_id)
        return follower is not None and follower.leader is not None

    async def catch_up_all(self) -> None:
        """As `catch_up`, every log."""
        for log_id in list(self._followers):
            await self.catch_up(log_id)

    async def run(self) -> None:
        """Follow until cancelled.

        Raises:
            CorruptObject: an entry on storage is damaged.
        """
        try:
            while True:
                self._more.clear()
                for log_id in self._followers.keys() - self._running.values():
                    work = self._followers[log_id].run()
                    task = self._seams.runtime.spawn(work, f"follower of log {log_id}")
                    self._running[task] = log_id
                more = asyncio.ensure_future(self._more.wait())
                await asyncio.wait((*self._running, more), return_when=asyncio.FIRST_COMPLETED)
                more.cancel()
                for task in self._running:
                    if task.done():
                        task.result()
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    def apply_changes(self, changes: Changes) -> None:
        """Metadata for the node's roles, and for itself: logs that it has not heard of."""
        self._sink.apply_changes(changes)
        for key, _ in changes.puts:
            kind, _, number = key.partition("/")
            if kind == "log" and LogId(int(number)) not in self._followers:
                self._add(LogId(int(number)), EntrySeq(1))
                self._more.set()

    def _add(self, log_id: LogId, next_seq: EntrySeq) -> None:
        self._followers[log_id] = LogFollower(
            self._seams.runtime,
            self._transport,
            self._membership,
            LogStore(self._seams.store, log_id) if self._entries else None,
            self._metadata,
            self._sink,
            log_id,
            next_seq,
        )
