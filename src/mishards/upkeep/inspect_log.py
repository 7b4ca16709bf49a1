"""Reads a log from where a new leader would begin to its end, or all that is left of it.

What counts as damage is what `log.store` holds for it: a torn entry is none where the leader that
came next has named it, or where it is the last.
"""

from __future__ import annotations

from mishards.core.errors import MishardsError
from mishards.core.ids import EntrySeq, LogId
from mishards.log.entry import Entry, TornEntry
from mishards.log.store import LogStore
from mishards.storage.protocol import ObjectStore
from mishards.upkeep.findings import Finding, Subject
from mishards.upkeep.reading import PacedReader


class LogInspection:
    """One look at one log. From the loop's thread.

    Attributes:
        entries: that were read.
    """

    def __init__(
        self, store: ObjectStore, reader: PacedReader, log_id: LogId, replay_from: EntrySeq
    ) -> None:
        self._store = store
        self._log = LogStore(store, log_id)
        self._reader = reader
        self._log_id = log_id
        self._replay_from = replay_from
        self._torn: list[EntrySeq] = []
        self.entries = 0
        self.findings: list[Finding] = []
        self.notes: list[str] = []

    async def inspect(self, *, deep: bool) -> None:
        """Look; `deep`: also at entries that nobody has to read any more.

        Raises:
            StorageError: the log cannot be listed.
        """
        first = EntrySeq(0) if deep else self._replay_from
        found = await self._listed(first)
        expected = self._replay_from
        for seq in found:
            if seq >= self._replay_from:
                if seq > expected:
                    self._find(expected, f"is missing, and so are all before entry {seq}")
                    self._torn.clear()
                expected = EntrySeq(seq + 1)
            await self._inspect_entry(seq)
        if self._torn:
            names = ", ".join(repr(self._log.key(seq)) for seq in self._torn)
            self.notes.append(f"the log ends in an entry that nobody was told of: {names}")

    async def _listed(self, first: EntrySeq) -> list[EntrySeq]:
        prefix = self._log.key(EntrySeq(0)).rpartition("/")[0] + "/"
        found = []
        for info in await self._store.list(
            prefix, self._log.key(EntrySeq(first - 1)) if first else ""
        ):
            name = info.key.removeprefix(prefix)
            if len(name) == 20 and name.isdecimal():
                found.append(EntrySeq(int(name)))
            else:
                self._find_key(info.key, f"object {info.key!r} is no log entry")
        return found

    async def _inspect_entry(self, seq: EntrySeq) -> None:
        try:
            found = await self._log.read(seq)
        except TornEntry:
            self._torn.append(seq)
            return
        except MishardsError as error:
            self._find_key(self._log.key(seq), error.message)
            self._torn.clear()
            return
        if found is None:
            if seq >= self._replay_from:
                self._find(seq, "went while it was looked at")
            return
        entry, raw = found
        self.entries += 1
        await self._reader.took(len(raw))
        for torn in self._torn:
            if not _skips(entry, torn):
                self._find(torn, f"ends too early, and entry {seq} does not skip it")
        self._torn.clear()

    def _find(self, seq: EntrySeq, message: str) -> None:
        key = self._log.key(seq)
        self._find_key(key, f"log entry {key!r} {message}")

    def _find_key(self, key: str, message: str) -> None:
        self.findings.append(
            Finding(subject=Subject.LOG, key=key, message=message, log_id=self._log_id)
        )


def _skips(entry: Entry, torn: EntrySeq) -> bool:
    return bool(entry.leader) and torn in entry.skips
