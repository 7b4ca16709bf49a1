"""The metadata journal on shared storage: an object for each commit, and now and then all records.

`metadata/journal/<20-digit version>.<4-digit attempt>` and `metadata/snapshots/<20-digit version>`.

Invariants: objects are created exclusively and never changed; entries go only once two snapshots
cover them, so that one snapshot may be damaged and nothing is lost. Whose entries these are, and
which of them count, says `metadata.journaled`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from mishards.core.errors import CorruptObject, ObjectExists
from mishards.core.ids import MetadataVersion
from mishards.metadata.journal_format import (
    JournalEntry,
    JournalSnapshot,
    decode_entry,
    decode_snapshot,
    encode_journal,
)
from mishards.storage.protocol import ObjectInfo, ObjectStore

JOURNAL = "metadata/"
"""What the keys of all objects of the journal start with."""
_ENTRIES = f"{JOURNAL}journal/"
_SNAPSHOTS = f"{JOURNAL}snapshots/"
_ENTRY = re.compile(r"(\d{20})\.(\d{4})\Z", re.ASCII)
_SNAPSHOT = re.compile(r"(\d{20})\Z", re.ASCII)
_BATCH = 256


class EntryName(NamedTuple):
    """An entry, as a listing shows it."""

    version: MetadataVersion
    attempt: int
    size_bytes: int


class SnapshotName(NamedTuple):
    """A snapshot, as a listing shows it."""

    version: MetadataVersion
    size_bytes: int


class Contents(NamedTuple):
    """What a listing of the journal found, in order."""

    snapshots: tuple[SnapshotName, ...]
    entries: tuple[EntryName, ...]

    @property
    def head(self) -> MetadataVersion:
        """The newest version that anything here is of; 0 when there is nothing."""
        versions = [one.version for one in self.snapshots[-1:]]
        versions += [one.version for one in self.entries[-1:]]
        return max(versions, default=MetadataVersion(0))

    @property
    def covered(self) -> MetadataVersion:
        """Entries of versions up to this may be gone, and may go."""
        return self.snapshots[-2].version if len(self.snapshots) > 1 else MetadataVersion(0)


class Journal:
    """Reads and writes the journal of one data set. All coroutines: from the loop's thread."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def contents(self) -> Contents:
        """What there is. Entries are listed first: what is trimmed meanwhile, the snapshots that
        are found after that cover.

        Raises:
            CorruptObject: an object's name is none that this release gives.
            StorageError: try again.
        """
        entries = await self._entries(_ENTRIES)
        snapshots = [
            SnapshotName(
                MetadataVersion(int(_match(_SNAPSHOT, info, _SNAPSHOTS)[1])), info.size_bytes
            )
            for info in await self._store.list(_SNAPSHOTS)
        ]
        return Contents(tuple(snapshots), entries)

    async def attempts(self, version: MetadataVersion) -> tuple[EntryName, ...]:
        """The entries of one version, in order."""
        return await self._entries(f"{_ENTRIES}{version:020d}.")

    async def create(self, entry: JournalEntry) -> int:
        """Create an entry, durably; its size in bytes.

        Raises:
            ObjectExists: there is one for that version and attempt.
            DiskFull, StorageError: it may or may not be there, whole or torn.
        """
        data = encode_journal(entry)
        await self._store.create(entry_key(entry.version, entry.attempt), data)
        return len(data)

    async def entry(self, name: EntryName) -> JournalEntry:
        """Read an entry.

        Raises:
            ObjectNotFound: it is gone.
            TornJournal, CorruptObject: names it.
        """
        key = entry_key(name.version, name.attempt)
        entry = decode_entry(await self._store.get(key), key)
        if (entry.version, entry.attempt) != (name.version, name.attempt):
            raise CorruptObject(f"{key!r} holds attempt {entry.attempt} at version {entry.version}")
        return entry

    async def snapshot(self, name: SnapshotName) -> JournalSnapshot:
        """Read a snapshot. Raises as `entry`."""
        key = snapshot_key(name.version)
        snapshot = decode_snapshot(await self._store.get(key), key)
        if snapshot.version != name.version:
            raise CorruptObject(f"{key!r} holds version {snapshot.version}")
        return snapshot

    async def add_snapshot(self, version: MetadataVersion, data: bytes) -> None:
        """Put a snapshot down, unless a sound one of its version is there.

        Args:
            data: of the snapshot, encoded; which takes long where there are very many records.

        Raises:
            DiskFull, StorageError: it may or may not be there.
        """
        key = snapshot_key(version)
        try:
            await self._store.create(key, data)
        except ObjectExists:
            if await self._store.get(key) != data:
                await self._store.put(key, data)

    async def trim(self) -> int:
        """Remove what two snapshots cover; the number of objects removed.

        Raises:
            StorageError: the rest stays for the next time.
        """
        found = await self.contents()
        gone = [
            entry_key(one.version, one.attempt)
            for one in found.entries
            if one.version <= found.covered
        ]
        gone += [snapshot_key(one.version) for one in found.snapshots[:-2]]
        for start in range(0, len(gone), _BATCH):
            await self._store.delete_all(gone[start : start + _BATCH])
        return len(gone)

    async def cut(self, after: MetadataVersion) -> list[str]:
        """Remove all that is of later versions than `after`; the keys. For repairs, while nothing
        leads."""
        found = await self.contents()
        gone = [entry_key(*one[:2]) for one in found.entries if one.version > after]
        gone += [snapshot_key(one.version) for one in found.snapshots if one.version > after]
        await self._delete_last_first(gone)
        return gone

    async def begin_at(self, version: MetadataVersion) -> list[str]:
        """Remove all but the snapshot of `version`; the keys. For repairs, while nothing leads."""
        found = await self.contents()
        gone = [entry_key(*one[:2]) for one in found.entries]
        gone += [snapshot_key(one.version) for one in found.snapshots if one.version != version]
        await self._delete_last_first(gone)
        return gone

    async def _delete_last_first(self, keys: Sequence[str]) -> None:
        """One by one, so that what an interruption leaves is a beginning."""
        for key in reversed(keys):
            await self._store.delete(key)

    async def _entries(self, prefix: str) -> tuple[EntryName, ...]:
        found = []
        for info in await self._store.list(prefix):
            match = _match(_ENTRY, info, _ENTRIES)
            found.append(EntryName(MetadataVersion(int(match[1])), int(match[2]), info.size_bytes))
        return tuple(found)


def entry_key(version: MetadataVersion, attempt: int) -> str:
    """Key of an entry; keys sort as (version, attempt) do."""
    return f"{_ENTRIES}{version:020d}.{attempt:04d}"


def snapshot_key(version: MetadataVersion) -> str:
    """Key of a snapshot; keys sort as versions do."""
    return f"{_SNAPSHOTS}{version:020d}"


def _match(pattern: re.Pattern[str], info: ObjectInfo, prefix: str) -> re.Match[str]:
    found = pattern.match(info.key.removeprefix(prefix))
    if found is None:
        raise CorruptObject(f"{info.key!r} in the metadata journal is no object of it")
    return found
