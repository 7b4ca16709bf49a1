"""A layer over any metadata store that puts every commit on shared storage as well.

How a commit goes, from version v to v+1: look that the store is at v and knows the epoch; create
the journal's entry of v+1, exclusively; commit to the store, which checks version and epoch. The
store decides; the entry is what it may have decided. So:

- Of a version that the store has come to there is an entry, and the store has come to the version
  before that of any entry. Storage and store can differ by one version, or one has lost something.
- Who finds an entry of v+1 in the way while the store is at v commits it, on behalf of whoever made
  it and under that one's epoch. The store refuses it only where that epoch is over: then it can
  never be committed, and the next attempt at v+1 may be made. A torn entry was never followed by a
  commit. So nobody is held up by an entry that its maker left behind.
- Whoever made an entry and is refused, though the store is past it and no later attempt was made,
  was helped.
- Before an epoch begins, an entry in the way is helped. So one whose commit the store has lost
  comes back, and is not mistaken for one of a reign that was over.

Invariants: a commit that returned is in the journal; a store that misses commits is refused with
`MetadataBehind`, and never written to.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress

from mishards.core.errors import (
    MetadataBehind,
    MetadataConflict,
    MetadataUnavailable,
    MishardsError,
    ObjectExists,
    ObjectNotFound,
)
from mishards.core.ids import Epoch, LogId, MetadataVersion
from mishards.core.runtime import Runtime
from mishards.metadata.journal import Contents, Journal
from mishards.metadata.journal_format import (
    JournalEntry,
    JournalSnapshot,
    TornJournal,
    encode_journal,
)
from mishards.metadata.protocol import Changes, MetadataStore
from mishards.storage.protocol import ObjectStore

_log = logging.getLogger(__name__)
_LEAST_BYTES = 256 << 10
"""Of entries, before another snapshot is worth its while …"""
_MOST_ENTRIES = 5_000
"""… but no more entries than that."""
_LOOK_EVERY = 50
"""Commits of this process between two looks whether a snapshot is due."""


class JournaledMetadata:
    """A `MetadataStore`; see the module. Snapshots are made in the background."""

    def __init__(
        self,
        inner: MetadataStore,
        store: ObjectStore,
        runtime: Runtime,
        *,
        least_bytes: int = _LEAST_BYTES,
        look_every: int = _LOOK_EVERY,
    ) -> None:
        """Closes `inner`, not `store`.

        Args:
            least_bytes: a snapshot is made once the entries since the last one are as large as
                that one is, and as this.
            look_every: so many commits apart that is looked at.
        """
        self._inner = inner
        self._runtime = runtime
        self._journal = Journal(store)
        self._least_bytes = least_bytes
        self._look_every = look_every
        self._seen = MetadataVersion(0)
        self._commits = 0
        self._snapshots: asyncio.Task[None] | None = None

    async def open(self, cluster_id: str) -> str:
        """Raises further: MetadataBehind, StorageError, CorruptObject."""
        found = await self._inner.open(cluster_id)
        await self.compare()
        return found

    async def compare(self) -> None:
        """Look whether the store, which is open, has all that the journal knows of.

        Raises:
            MetadataBehind: it has not.
            StorageError, CorruptObject, MetadataUnavailable: it cannot be told.
        """
        contents = await self._journal.contents()
        self._check(contents, await self.version())

    async def version(self) -> MetadataVersion:
        seen = self._seen
        return self._risen(await self._inner.version(), seen)

    async def changes(self, since: MetadataVersion) -> Changes:
        seen = self._seen
        changes = await self._inner.changes(since)
        self._risen(changes.version, seen)
        return changes

    async def begin_epoch(self, log_id: LogId, epoch: Epoch) -> None:
        """Raises further: MetadataBehind, StorageError, CorruptObject."""
        await self._settle()
        await self._inner.begin_epoch(log_id, epoch)

    async def epoch(self, log_id: LogId) -> Epoch:
        return await self._inner.epoch(log_id)

    async def commit(
        self,
        log_id: LogId,
        epoch: Epoch,
        expected: MetadataVersion,
        puts: dict[str, bytes],
        deletes: tuple[str, ...] = (),
    ) -> Changes:
        """Raises further: MetadataBehind, StorageError, DiskFull, CorruptObject; as with
        `MetadataUnavailable`, the commit may then come about later, all or nothing."""
        try:
            reigning, version = await self._stand(log_id)
        except MetadataBehind:
            with suppress(MetadataBehind):
                await self._settle()
            reigning, version = await self._stand(log_id)
        if reigning != epoch:
            raise MetadataConflict(f"epoch {epoch} of log {log_id} is over: {reigning} reigns")
        if version != expected:
            raise MetadataConflict(f"metadata is at version {version}, not {expected}")
        entry = await self._intend(
            JournalEntry(
                version=MetadataVersion(expected + 1),
                log_id=log_id,
                epoch=epoch,
                puts=puts,
                deletes=deletes,
            )
        )
        try:
            changes = await self._inner.commit(log_id, epoch, expected, puts, deletes)
        except MetadataConflict:
            if not await self._was_helped(entry):
                raise
            changes = Changes(expected, entry.version, tuple(puts.items()), deletes)
        self._risen(changes.version, expected)
        self._commits += 1
        if self._commits % self._look_every == 0:
            self._make_snapshots()
        return changes

    async def restore(self, changes: Changes, epochs: Mapping[LogId, Epoch]) -> None:
        await self._inner.restore(changes, epochs)
        await self._snapshot()

    async def prune(self, before: MetadataVersion) -> None:
        await self._inner.prune(before)

    async def close(self) -> None:
        if self._snapshots is not None:
            self._snapshots.cancel()
            await asyncio.gather(self._snapshots, return_exceptions=True)
        await self._inner.close()

    async def _stand(self, log_id: LogId) -> tuple[Epoch, MetadataVersion]:
        """Who reigns over the log, and the version."""
        return await asyncio.gather(self._inner.epoch(log_id), self.version())

    # --- entries ----------------------------------------------------------------------------

    async def _intend(self, entry: JournalEntry) -> JournalEntry:
        """Create the entry at the first attempt that is free.

        Raises:
            MetadataConflict: its version is another's.
        """
        while True:
            try:
                await self._journal.create(entry)
            except ObjectExists:
                free = await self._help(entry.version)
            else:
                return entry
            if free is None:
                raise MetadataConflict(
                    f"metadata is at version {entry.version}, not {entry.version - 1}"
                )
            entry = entry.at(free)

    async def _help(self, version: MetadataVersion) -> int | None:
        """Commit what the journal holds of a version that the store may not have come to.

        Returns:
            None when the store has come to it now; else the attempt to make next: what there is
            will never be committed.

        Raises:
            MetadataBehind: the store does not know the entry's epoch, or the version before.
        """
        attempts = await self._journal.attempts(version)
        if not attempts:  # trimmed meanwhile, so the version is long past
            return None
        try:
            entry = await self._journal.entry(attempts[-1])
        except ObjectNotFound:
            return None
        except TornJournal as error:
            _log.warning("%s; its commit never began", error.message)
            return attempts[-1].attempt + 1
        try:
            await self._inner.commit(
                entry.log_id,
                entry.epoch,
                MetadataVersion(version - 1),
                dict(entry.puts),
                entry.deletes,
            )
        except MetadataConflict:
            # An epoch that is over stays so; a version that is not reached now can be later.
            reigning = await self._inner.epoch(entry.log_id)
            found = await self.version()
            if found >= version:
                return None
            if found == version - 1 and reigning > entry.epoch:
                return entry.attempt + 1
            raise MetadataBehind(
                f"the metadata database is at version {found} and epoch {reigning} of log "
                f"{entry.log_id}; shared storage knows of version {version - 1} and epoch "
                f"{entry.epoch}: {_ADVICE}"
            ) from None
        _log.info("committed version %d, which its leader had left behind", version)
        return None

    async def _was_helped(self, entry: JournalEntry) -> bool:
        """Whether an entry that this process made was committed by another: the store has come to
        its version, and no later attempt at that one was made.

        Raises:
            MetadataUnavailable: it cannot be told any more, because entries were trimmed.
        """
        version = await self.version()
        if version < entry.version:
            return False
        if (await self._journal.contents()).covered >= entry.version:
            raise MetadataUnavailable(
                f"whether version {entry.version} of the metadata was committed cannot be told "
                f"at version {version}"
            )
        attempts = await self._journal.attempts(entry.version)
        return attempts[-1].attempt == entry.attempt

    async def _settle(self) -> None:
        """Bring journal and store to one version: the newest commit comes back where it was lost.

        Raises:
            MetadataBehind: the store misses more than can be made up for.
        """
        contents = await self._journal.contents()
        version = await self._inner.version()
        if version > contents.head:
            # An entry comes before its commit, so one that is still not there was never made: by a
            # release without a journal.
            if version > (await self._journal.contents()).head:
                await self._snapshot()
            return
        self._check(contents, version)
        if version < contents.head:
            await self._help(contents.head)
        await self.version()
        if self._is_due(contents):
            self._make_snapshots()

    # --- versions ---------------------------------------------------------------------------

    def _risen(self, version: MetadataVersion, seen: MetadataVersion) -> MetadataVersion:
        if version < seen:
            raise MetadataBehind(
                f"the metadata database went back from version {seen} to {version}: {_ADVICE}"
            )
        self._seen = max(self._seen, version)
        return version

    def _check(self, contents: Contents, version: MetadataVersion) -> None:
        """Compare a version with what the journal held before it was asked for."""
        if version < contents.head - 1:
            raise MetadataBehind(
                f"the metadata database is at version {version}; shared storage knows of version "
                f"{contents.head}: {_ADVICE}"
            )

    # --- snapshots --------------------------------------------------------------------------

    def _make_snapshots(self) -> None:
        if self._snapshots is None or self._snapshots.done():
            self._snapshots = self._runtime.spawn(self._snapshot_if_due(), "metadata snapshot")

    async def _snapshot_if_due(self) -> None:
        try:
            if self._is_due(await self._journal.contents()):
                await self._snapshot()
        except MishardsError as error:
            _log.warning("the metadata journal gets no snapshot for now: %s", error.message)

    def _is_due(self, contents: Contents) -> bool:
        base, least = MetadataVersion(0), self._least_bytes
        if contents.snapshots:
            base = contents.snapshots[-1].version
            least = max(least, contents.snapshots[-1].size_bytes)
        since = [one.size_bytes for one in contents.entries if one.version > base]
        return sum(since) >= least or len(since) >= _MOST_ENTRIES

    async def _snapshot(self) -> None:
        changes = await self.changes(MetadataVersion(0))
        data = await self._runtime.blocking(_snapshot_of, changes)
        await self._journal.add_snapshot(changes.version, data)
        await self._journal.trim()


def _snapshot_of(changes: Changes) -> bytes:
    return encode_journal(JournalSnapshot(version=changes.version, records=dict(changes.puts)))


_ADVICE = "it was lost, or replaced by an older one; stop the writers and run `mishards repair`"
