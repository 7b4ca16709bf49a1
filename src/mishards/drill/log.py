"""The log that the drill's own rows go to, read along: the truth that its clients are held to.

Invariants: an entry's time is the beginning of the last look that did not find it, on the clock of
this machine, so at the latest its moment of durability, whatever other clocks say; of other
collections nothing is kept but that something was written.
"""

from __future__ import annotations

import time

import msgspec

from mishards.core.errors import CorruptObject, ObjectNotFound, StorageError
from mishards.core.ids import CollectionId, EntrySeq, LogId
from mishards.core.runtime import Runtime
from mishards.log.entry import Entry
from mishards.log.store import LogStore
from mishards.storage.protocol import ObjectStore
from mishards.testing.witness import Durable

_LOOK_S = 0.25


class ReadLog:
    """Reads entries as they come. From the loop's thread; nothing may be trimmed meanwhile.

    Attributes:
        entries: so far, in their order.
    """

    def __init__(
        self, store: ObjectStore, runtime: Runtime, log_id: LogId, collection: CollectionId
    ) -> None:
        self.entries: list[Durable] = []
        self._log = LogStore(store, log_id)
        self._runtime = runtime
        self._collection = collection
        self._next = EntrySeq(1)
        self._since_s = time.time()

    async def begin(self, trimmed: EntrySeq) -> None:
        """Go to the log's end: what was there before is not looked at."""
        self._next = EntrySeq(await self._log.last_seq(trimmed) + 1)

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            try:
                await self.read()
            except (CorruptObject, ObjectNotFound):
                raise
            except StorageError:
                pass  # it may be the very fault
            await self._runtime.sleep(_LOOK_S)

    async def read(self) -> None:
        """Read to the end.

        Raises:
            CorruptObject, ObjectNotFound: the log is damaged; names the object.
            StorageError: it cannot be read now.
        """
        began_s = time.time()
        async for entry, _ in self._log.read_from(self._next):
            self.entries.append(Durable(self._since_s, self._lean(entry)))
            self._next = EntrySeq(entry.seq + 1)
        self._since_s = began_s

    def _lean(self, entry: Entry) -> Entry:
        mutations = tuple(
            one
            if one.collection == self._collection
            else msgspec.structs.replace(one, rows=b"", keys=b"")
            for one in entry.mutations
        )
        return msgspec.structs.replace(entry, mutations=mutations)
