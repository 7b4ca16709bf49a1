"""How far a reader has come, in each log and in metadata, and waiting for it to come further.

Invariants: positions only rise; a timestamp is raised after everything up to it can be read, so
whoever sees the timestamp sees the rows and the deletes. Any thread may read the positions; all
else happens on the loop's thread.
"""

from __future__ import annotations

import asyncio

import msgspec

from mishards.core.errors import DeadlineExceeded, NotReady
from mishards.core.ids import EntrySeq, Epoch, LogId, MetadataVersion, Timestamp
from mishards.core.runtime import Runtime


class AppliedLog(msgspec.Struct, frozen=True):
    """A position in a log: all entries up to `seq`, so all mutations up to `timestamp`.

    Attributes:
        epoch: the newest of those entries.
    """

    seq: EntrySeq = EntrySeq(0)
    timestamp: Timestamp = Timestamp(0)
    epoch: Epoch = Epoch(0)


_NOTHING = AppliedLog()


class Progress:
    """Positions of all logs and of metadata."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._waiters: list[tuple[LogId, Timestamp, MetadataVersion, asyncio.Future[None]]] = []
        self._logs: dict[LogId, AppliedLog] = {}
        self.version = MetadataVersion(0)

    def log(self, log_id: LogId) -> AppliedLog:
        """How far a log has been applied."""
        return self._logs.get(log_id, _NOTHING)

    def logs(self) -> dict[LogId, AppliedLog]:
        """The positions in all logs that were heard of."""
        return dict(self._logs)

    def applied(
        self, log_id: LogId, seq: EntrySeq, timestamp: Timestamp, epoch: Epoch = _NOTHING.epoch
    ) -> None:
        """All entries up to `seq`, and so all mutations up to `timestamp`, can be read."""
        old = self.log(log_id)
        self._logs[log_id] = AppliedLog(
            max(old.seq, seq), max(old.timestamp, timestamp), max(old.epoch, epoch)
        )
        self._wake()

    def informed(self, version: MetadataVersion) -> None:
        """Metadata of `version` is in place."""
        self.version = max(self.version, version)
        self._wake()

    def has(self, log_id: LogId, timestamp: Timestamp, version: MetadataVersion) -> bool:
        return self.log(log_id).timestamp >= timestamp and self.version >= version

    async def reach(
        self, log_id: LogId, timestamp: Timestamp, version: MetadataVersion, deadline_s: float
    ) -> None:
        """Return once the positions in a log and in metadata are reached.

        Raises:
            DeadlineExceeded: they were not by `deadline_s`; says how far the reader is.
        """
        if self.has(log_id, timestamp, version):
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiter = (log_id, timestamp, version, future)
        self._waiters.append(waiter)
        try:
            await self._runtime.timeout(
                _outcome(future), max(0.0, deadline_s - self._runtime.monotonic_s())
            )
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"the reader has applied log {log_id} up to {self.log(log_id).timestamp} and "
                f"metadata version {self.version}; the read needs {timestamp} and {version}"
            ) from error
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def _wake(self) -> None:
        if not self._waiters:
            return
        ready = [w for w in self._waiters if self.has(*w[:3])]
        self._waiters = [w for w in self._waiters if not self.has(*w[:3])]
        for *_, future in ready:
            if not future.done():
                future.set_result(None)

    def close(self) -> None:
        """End all waiting with `NotReady`."""
        for *_, future in self._waiters:
            if not future.done():
                future.set_exception(NotReady("the reader is shutting down"))
        self._waiters = []


async def _outcome(future: asyncio.Future[None]) -> None:
    await future
