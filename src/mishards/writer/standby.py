"""What a writer keeps ready of a log that it may have to lead: read from storage, as it grows.

Invariants: entries are taken once, in order, without a gap; what is growing is kept until metadata
that was read after it says that it is sealed or dropped. Nothing here changes log or metadata.
"""

from __future__ import annotations

from mishards.core.errors import CorruptObject, MetadataConflict, ObjectNotFound, StorageError
from mishards.core.ids import EntrySeq, Epoch, LogId, Timestamp
from mishards.core.runtime import Runtime
from mishards.log.entry import Entry
from mishards.log.store import LogStore
from mishards.metadata.protocol import Changes, MetadataStore
from mishards.metadata.snapshot import MetadataSnapshot
from mishards.writer.commit import written
from mishards.writer.config import WriterConfig
from mishards.writer.growing import Growing
from mishards.writer.tokens import LogTail, TokenWindow

_MOST_RESTARTS = 10
LATE_S = 60.0
"""How long an entry that is listed may not be readable: a mount can know a name before its file."""


class Replay:
    """What was read of the log so far.

    Attributes:
        floor: every timestamp that may have been given away is at most this.
    """

    def __init__(self, config: WriterConfig, first: EntrySeq) -> None:
        self.next_seq = first
        self.epoch = Epoch(0)
        self.timestamp = Timestamp(0)
        self.floor = Timestamp(0)
        self.growing = Growing()
        self.tokens = TokenWindow(config.token_window)
        self.tail = LogTail(config, first)

    def take(self, entry: Entry, size_bytes: int, now_s: float) -> None:
        self.next_seq = EntrySeq(entry.seq + 1)
        self.epoch = max(self.epoch, entry.epoch)
        self.timestamp = max(self.timestamp, entry.timestamp)
        self.floor = max(self.floor, entry.timestamp, entry.ceiling)
        self.tail.add(entry, size_bytes, now_s)
        for mutation in entry.mutations:
            self.growing.add(entry.seq, mutation, now_s)
            self.tokens.add(mutation.token, written(entry, mutation))


class Standby:
    """Follows one log and the metadata by reading both stores. From the loop's thread."""

    def __init__(
        self,
        runtime: Runtime,
        config: WriterConfig,
        log: LogStore,
        log_id: LogId,
        metadata: MetadataStore,
    ) -> None:
        self.snapshot = MetadataSnapshot.empty()
        self._runtime = runtime
        self._config = config
        self._log = log
        self._log_id = log_id
        self._metadata = metadata
        self._replay: Replay | None = None
        self._missing: tuple[EntrySeq, float] | None = None

    @property
    def replay(self) -> Replay:
        """What was read; `keep_up` has to have succeeded before."""
        assert self._replay is not None
        return self._replay

    @property
    def is_overtaken(self) -> bool:
        """Whether the log was trimmed beyond what was read of it."""
        meta = self.snapshot.logs.get(self._log_id)
        return meta is not None and meta.trimmed > self.replay.next_seq

    async def keep_up(self) -> None:
        """Read log and metadata to their ends.

        Raises:
            CorruptObject: the log is damaged before its end; names the object.
            StorageError, MetadataUnavailable: try again.
        """
        if self._replay is None:
            self.apply(await self._metadata.changes(self.snapshot.version))
        for _ in range(_MOST_RESTARTS):
            try:
                await self.read_log()
            except ObjectNotFound as missing:
                await self._begin_again(missing)
            else:
                break
        # Read after the log: a collection that these do not know was dropped, not yet to come.
        self.apply(await self._metadata.changes(self.snapshot.version))
        self.settle()

    async def read_log(self) -> None:
        """Read the log to its end.

        Raises:
            ObjectNotFound: the next entry was trimmed.
            CorruptObject, StorageError.
        """
        if self._replay is None:
            meta = self.snapshot.logs.get(self._log_id)
            first = EntrySeq(1) if meta is None else meta.replay_from
            self._replay = Replay(self._config, first)
        async for entry, raw in self._log.read_from(self._replay.next_seq):
            self._replay.take(entry, len(raw), self._runtime.monotonic_s())

    def apply(self, changes: Changes) -> None:
        """Take metadata that was read.

        Raises:
            MetadataConflict: it is older than what is known.
        """
        if changes.version < self.snapshot.version:
            raise MetadataConflict(
                f"the metadata store went back from version {self.snapshot.version} "
                f"to {changes.version}"
            )
        self.snapshot = self.snapshot.apply(changes)

    def settle(self) -> None:
        """Let go of what is sealed or dropped; the metadata has to be as new as the log."""
        self.replay.growing.keep_to(self.snapshot.collections, self._runtime.monotonic_s())

    async def _begin_again(self, missing: ObjectNotFound) -> None:
        """Forget all, and go on from where newer metadata says that the log begins."""
        stood = self.replay.next_seq
        self.apply(await self._metadata.changes(self.snapshot.version))
        meta = self.snapshot.logs.get(self._log_id)
        if meta is None or meta.replay_from <= stood:
            said = f"{missing.message}, and the metadata does not say that it was trimmed"
            raise (StorageError if self._may_be_late(stood) else CorruptObject)(said) from missing
        self._replay = None

    def _may_be_late(self, seq: EntrySeq) -> bool:
        """Whether an entry that was found missing has not been so for long."""
        now_s = self._runtime.monotonic_s()
        if self._missing is None or self._missing[0] != seq:
            self._missing = (seq, now_s)
        return now_s - self._missing[1] < LATE_S
