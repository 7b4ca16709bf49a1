"""Reading the log on storage again, for a collection whose mutations were let go."""

from __future__ import annotations

import logging
from collections.abc import Callable

from mishards.core.errors import ObjectNotFound, StorageError
from mishards.core.ids import CollectionId, EntrySeq
from mishards.core.runtime import Runtime
from mishards.log.entry import Mutation
from mishards.log.store import LogStore
from mishards.reader.pending import PendingMutations

_RETRY_S = 1.0
_log = logging.getLogger(__name__)


class LogRecovery:
    """Gives the mutations of one collection in order, each once. From the loop's thread."""

    def __init__(
        self,
        runtime: Runtime,
        log: LogStore,
        pending: PendingMutations,
        log_begin: Callable[[], EntrySeq],
    ) -> None:
        """`log_begin`: all before this entry is sealed in the metadata that the reader has."""
        self._log_begin = log_begin
        self._runtime = runtime
        self._log = log
        self._pending = pending

    async def mutations(
        self, collection: CollectionId, since: EntrySeq, applied: Callable[[], EntrySeq]
    ) -> list[Mutation]:
        """All mutations from entry `since` up to the entry applied last when this returns, but
        for those that newer metadata than the reader had then says are sealed.

        Tries again while storage fails, and when what arrives meanwhile does not fit either.

        Args:
            applied: the entry that the reader applied last.

        Raises:
            CorruptObject: names the log entry.
        """
        while True:
            try:
                stored = [
                    (entry.seq, mutation)
                    async for entry, _ in self._log.read_from(max(since, self._log_begin()))
                    for mutation in entry.mutations
                    if mutation.collection == collection
                ]
            except StorageError as error:
                # An entry that is not there was trimmed: newer metadata is on its way.
                if not error.retriable and not isinstance(error, ObjectNotFound):
                    raise
                _log.warning("the log cannot be read again for %d yet: %s", collection, error)
                await self._runtime.sleep(_RETRY_S)
                continue
            # Nothing is awaited from here on: entries cannot arrive between the two sources.
            arrived = self._pending.take(collection)
            if self._pending.lost_since(collection) is None:
                break
        until = applied()
        found = [mutation for seq, mutation in stored if seq <= until]
        newest = found[-1].timestamp if found else 0
        return [*found, *(m for m in arrived if m.timestamp > newest)]
