"""The log of a real cluster as it becomes durable on whatever storage: as `log_watch`, of any URL.

Invariants: an entry's time is the beginning of the last look that did not find it, so at the latest
its moment of durability; while storage is away nothing is seen, and nothing is missed.
"""

from __future__ import annotations

import asyncio
import threading
import time
from types import TracebackType

from mishards.core.errors import CorruptObject, ObjectNotFound, StorageError
from mishards.core.ids import EntrySeq, LogId
from mishards.core.runtime import SystemRuntime
from mishards.log.store import LogStore
from mishards.storage.registry import open_store
from mishards.testing.local_cluster import wait_for
from mishards.testing.witness import Durable

_LOOK_S = 0.2


class StoredLogWatch:
    """Reads entries of one log as they come; a context manager."""

    def __init__(self, url: str, log_id: int = 0) -> None:
        """`url`: of the data, as a cluster is given it."""
        self._url = url
        self._log_id = LogId(log_id)
        self._found: list[Durable] = []
        self._looks = 0
        self._stop = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="stored log watch")

    def durable(self) -> list[Durable]:
        """All entries so far, in their order; times never fall.

        Raises:
            TimeoutError: storage does not answer.
        """
        began = self._looks

        def looked() -> bool:
            if self._error is not None:
                raise self._error
            return self._looks >= began + 2  # the first may have begun before this call

        wait_for(looked, "the log is read to its end")
        return list(self._found)

    def _run(self) -> None:
        try:
            asyncio.run(self._watch())
        except Exception as error:
            self._error = error

    async def _watch(self) -> None:
        runtime = SystemRuntime(threads=1)
        store = open_store(self._url, runtime)
        log, next_seq, since_s = LogStore(store, self._log_id), EntrySeq(1), time.time()
        try:
            while not self._stop.is_set():
                began_s = time.time()
                try:
                    async for entry, _ in log.read_from(next_seq):
                        self._found.append(Durable(since_s, entry))
                        next_seq = EntrySeq(entry.seq + 1)
                except (CorruptObject, ObjectNotFound):
                    raise
                except StorageError:
                    pass  # it is away
                else:
                    since_s = began_s
                    self._looks += 1
                await asyncio.sleep(_LOOK_S)
        finally:
            await store.close()
            await runtime.close()

    def __enter__(self) -> StoredLogWatch:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
