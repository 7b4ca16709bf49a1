"""A log on shared storage: one object per entry, `log/<log id>/<20-digit number>`.

Invariants: entries are created exclusively, in order, and never changed; a reader sees them in
order, without a gap. Old entries are removed from the first on, when metadata says that nobody
needs them (see `writer.trim`); some are left standing, and the last one always stays. A torn entry
(see `entry.TornEntry`) counts as never written: at the end of the log it is passed over with a
warning, and the next leader begins its epoch behind it with an entry that names it in `skips`. A
torn entry that no such entry follows is damage.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence

from mishards.core.errors import CorruptObject, ObjectExists, ObjectNotFound
from mishards.core.ids import EntrySeq, LogId
from mishards.log.entry import Entry, TornEntry, decode_entry, encode_entry
from mishards.storage.protocol import ObjectStore

_log = logging.getLogger(__name__)
_BATCH_ENTRIES = 128
_BATCH_BYTES = 4 * 1024 * 1024


class LogStore:
    """Reads and appends entries of one log. All coroutines: from the loop's thread."""

    def __init__(self, store: ObjectStore, log_id: LogId) -> None:
        self._store = store
        self._log_id = log_id
        self._prefix = f"log/{log_id}/"
        self._warned = EntrySeq(0)

    def key(self, seq: EntrySeq) -> str:
        """The object's key of entry `seq`; keys sort as numbers do."""
        return f"{self._prefix}{seq:020d}"

    async def append(self, entry: Entry) -> bytes:
        """Create the entry and give its bytes; durable when it returns.

        Raises:
            ObjectExists: another leader took this number: step down.
            DiskFull, StorageError: the entry may or may not exist: step down.
        """
        data = encode_entry(entry)
        await self._store.create(self.key(entry.seq), data)
        return data

    async def read(self, seq: EntrySeq) -> tuple[Entry, bytes] | None:
        """The entry and its bytes; None when it does not exist.

        Raises:
            TornEntry, CorruptObject: names the object.
        """
        try:
            data = await self._store.get(self.key(seq))
        except ObjectNotFound:
            return None
        return self._decoded(seq, data), data

    async def read_from(self, seq: EntrySeq) -> AsyncIterator[tuple[Entry, bytes]]:
        """Entries from `seq` on, up to the last that existed when the iteration began.

        Costs one listing, and one call to the store for many entries. The numbers given rise by
        one, but for torn entries that the next one skips.

        Raises:
            ObjectNotFound: an entry is missing though later ones exist: it was trimmed, and the
                reader has to start again from the metadata's `replay_from`; names the object.
            CorruptObject: an entry is damaged, or torn and not the last; names the object.
        """
        sizes = await self._sizes_from(seq)
        last = max(sizes, default=EntrySeq(seq - 1))
        torn: list[TornEntry] = []
        next_seq = seq
        while next_seq <= last:
            keys = [self.key(one) for one in _batch(next_seq, last, sizes)]
            for data in await self._store.get_all(keys):
                if data is None:
                    raise ObjectNotFound(
                        f"log entry {self.key(next_seq)!r} is missing though entry {last} exists"
                    )
                try:
                    entry = self._decoded(next_seq, data)
                except TornEntry as error:
                    torn.append(error)
                else:
                    if torn and not _skips(entry, len(torn)):
                        raise CorruptObject(
                            f"{torn[0].message}, and entry {next_seq} does not skip it"
                        )
                    torn.clear()
                    yield entry, data
                next_seq = EntrySeq(next_seq + 1)
        if torn and next_seq > self._warned:
            self._warned = next_seq
            _log.warning("passed over at the end of the log: %s", torn[0].message)

    async def last_seq(self, from_seq: EntrySeq) -> EntrySeq:
        """The number of the newest entry, torn or not; `from_seq - 1` when none is as new."""
        return max(await self._sizes_from(from_seq), default=EntrySeq(from_seq - 1))

    async def _sizes_from(self, seq: EntrySeq) -> dict[EntrySeq, int]:
        """The bytes of the entries from `seq` on."""
        found = await self._store.list(self._prefix, self.key(EntrySeq(seq - 1)))
        start = len(self._prefix)
        sizes = {}
        for info in found:
            name = info.key[start:]
            if len(name) != 20 or not name.isdecimal():
                raise CorruptObject(f"{info.key!r} in the log's folder is no log entry")
            sizes[EntrySeq(int(name))] = info.size_bytes
        return sizes

    def _decoded(self, seq: EntrySeq, data: bytes) -> Entry:
        key = self.key(seq)
        entry = decode_entry(data, key)
        if entry.seq != seq or entry.log_id != self._log_id:
            raise CorruptObject(f"{key!r} holds entry {entry.seq} of log {entry.log_id}")
        return entry

    async def held_before(self, seq: EntrySeq) -> list[EntrySeq]:
        """The entries before `seq` that are still there, in order; costs a listing of all."""
        end = self.key(seq)
        found = [info.key for info in await self._store.list(self._prefix) if info.key < end]
        return [EntrySeq(int(key.removeprefix(self._prefix))) for key in found]

    async def remove(self, seqs: Sequence[EntrySeq]) -> None:
        """Remove entries, the first of them first; those that are absent are passed over."""
        await self._store.delete_all([self.key(seq) for seq in seqs])

    async def next_free(self, after: EntrySeq) -> tuple[EntrySeq, tuple[EntrySeq, ...]]:
        """Where a new leader that read the log up to `after` begins its epoch.

        Returns:
            The number to append at, and the torn entries to name in that entry's `skips`.

        Raises:
            ObjectExists: an intact entry follows: read on first.
            CorruptObject: a damaged entry follows.
        """
        torn: list[EntrySeq] = []
        seq = EntrySeq(after + 1)
        while True:
            try:
                if await self.read(seq) is None:
                    return seq, tuple(torn)
            except TornEntry:
                torn.append(seq)
                seq = EntrySeq(seq + 1)
            else:
                raise ObjectExists(f"log entry {self.key(seq)!r} was created meanwhile")


def _batch(first: EntrySeq, last: EntrySeq, sizes: Mapping[EntrySeq, int]) -> list[EntrySeq]:
    """The entries from `first` on to read at once: at least one, at most some of few bytes."""
    batch: list[EntrySeq] = []
    held_bytes = 0
    for number in range(first, min(last + 1, first + _BATCH_ENTRIES)):
        seq = EntrySeq(number)
        held_bytes += sizes.get(seq, 0)
        if batch and held_bytes > _BATCH_BYTES:
            break
        batch.append(seq)
    return batch


def _skips(entry: Entry, count: int) -> bool:
    """Whether the entry begins an epoch and names the `count` entries before it as torn."""
    return bool(entry.leader) and set(entry.skips).issuperset(range(entry.seq - count, entry.seq))
