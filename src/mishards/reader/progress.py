"""How far a reader has come, in the log and in metadata, and waiting for it to come further.

Invariants: positions only rise; `timestamp` is raised after everything up to it can be read, so
whoever sees the timestamp sees the rows and the deletes. Any thread may read the positions; all
else happens on the loop's thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from mishards.core.errors import DeadlineExceeded, NotReady
from mishards.core.ids import EntrySeq, Epoch, MetadataVersion, Timestamp
from mishards.core.runtime import Runtime


class Progress:
    """Positions of one log and of metadata."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._waiters: list[tuple[Timestamp, MetadataVersion, asyncio.Future[None]]] = []
        self.seq = EntrySeq(0)
        self.timestamp = Timestamp(0)
        self.epoch = Epoch(0)
        self.version = MetadataVersion(0)

    def applied(self, seq: EntrySeq, timestamp: Timestamp) -> None:
        """All entries up to `seq`, and so all mutations up to `timestamp`, can be read."""
        self.seq = max(self.seq, seq)
        self.timestamp = max(self.timestamp, timestamp)
        self._wake()

    def informed(self, version: MetadataVersion) -> None:
        """Metadata of `version` is in place."""
        self.version = max(self.version, version)
        self._wake()

    def has(self, timestamp: Timestamp, version: MetadataVersion) -> bool:
        return self.timestamp >= timestamp and self.version >= version

    async def reach(
        self, timestamp: Timestamp, version: MetadataVersion, deadline_s: float
    ) -> None:
        """Return once both positions are reached.

        Raises:
            DeadlineExceeded: they were not by `deadline_s`; says how far the reader is.
        """
        if self.has(timestamp, version):
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiter = (timestamp, version, future)
        self._waiters.append(waiter)
        try:
            await self._runtime.timeout(
                _outcome(future), max(0.0, deadline_s - self._runtime.monotonic_s())
            )
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"the reader has applied the log up to {self.timestamp} and metadata version "
                f"{self.version}; the read needs {timestamp} and {version}"
            ) from error
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def _wake(self) -> None:
        if not self._waiters:
            return
        ready = [w for w in self._waiters if self.has(w[0], w[1])]
        self._waiters = [w for w in self._waiters if not self.has(w[0], w[1])]
        for _, _, future in ready:
            if not future.done():
                future.set_result(None)

    def close(self) -> None:
        """End all waiting with `NotReady`."""
        for _, _, future in self._waiters:
            if not future.done():
                future.set_exception(NotReady("the reader is shutting down"))
        self._waiters = []


async def _outcome(future: asyncio.Future[None]) -> None:
    await future


class CatchUp:
    """Shares runs of `catch_up` between reads: each is covered by a run that began after it."""

    def __init__(self, catch_up: Callable[[], Awaitable[None]] | None) -> None:
        self._catch_up = catch_up
        self._lock = asyncio.Lock()
        self._asked = 0
        self._covered = 0

    async def run(self) -> None:
        """Return once the log on storage was read to an end no older than this call.

        Raises:
            NotReady: this reader has no way to storage's log.
        """
        if self._catch_up is None:
            raise NotReady("this reader cannot read the log on storage by itself")
        self._asked += 1
        mine = self._asked
        async with self._lock:
            if self._covered >= mine:
                return
            covering = self._asked
            await self._catch_up()
            self._covered = covering
