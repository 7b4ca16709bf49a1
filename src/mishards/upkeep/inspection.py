"""Looks at a whole data set, live or stopped: is everything there that metadata names, as it says?

Invariants: nothing is changed but a pin, which holds back removal while it looks; what is wrong is
noted, and the rest is looked at all the same. Metadata is read after the journal was listed and
before objects are, so a live cluster is not taken for a damaged one.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from mishards.backup.progress import Progress
from mishards.core.errors import CorruptObject, DiskFull, PinLost, StorageError
from mishards.core.ids import EntrySeq, LogId, MetadataVersion
from mishards.core.runtime import Runtime
from mishards.metadata.journal import Contents, Journal
from mishards.metadata.protocol import Changes, MetadataStore
from mishards.metadata.snapshot import MetadataSnapshot
from mishards.segments.layout import SEGMENTS
from mishards.storage.pins import pinned
from mishards.storage.protocol import ObjectStore
from mishards.upkeep.findings import Finding, Inspected, Subject
from mishards.upkeep.inspect_journal import JournalInspection
from mishards.upkeep.inspect_log import LogInspection
from mishards.upkeep.inspect_segments import SegmentInspection, orphans
from mishards.upkeep.reading import PacedReader

_LOGS = "log/"


class Inspection:
    """One look at one data set. From the loop's thread."""

    def __init__(
        self,
        runtime: Runtime,
        store: ObjectStore,
        metadata: MetadataStore,
        progress: Progress,
        *,
        deep: bool,
        rate_bytes_s: float = 0.0,
    ) -> None:
        """A look to come.

        Args:
            metadata: the database itself, without a journal's layer.
            deep: read everything and compare checksums.
            rate_bytes_s: most bytes read a second; 0 for no limit.
        """
        self._runtime = runtime
        self._store = store
        self._metadata = metadata
        self._progress = progress
        self._deep = deep
        self._reader = PacedReader(runtime, store, rate_bytes_s, progress.advance)
        self._findings: list[Finding] = []
        self._notes: list[str] = []

    async def run(self, cluster: str) -> Inspected:
        """Look; `cluster` is the data set's id.

        Raises:
            StorageError, MetadataUnavailable: storage cannot be listed, or metadata not be read.
        """
        began_s = self._runtime.monotonic_s()
        async with self._pinned():
            contents = await self._contents()
            held = await self._metadata.changes(MetadataVersion(0))
            snapshot = self._snapshot(held)
            sizes = {info.key: info.size_bytes for info in await self._store.list(SEGMENTS)}
            if self._deep:
                self._progress.total(sum(sizes.values()))
            segments = SegmentInspection(self._reader, sizes, deep=self._deep)
            if snapshot is not None:
                for view in snapshot.collections.values():
                    self._progress.doing(f"collection {view.name}")
                    await segments.inspect(view)
            self._findings += sorted(segments.findings, key=lambda finding: finding.key)
            entries = await self._inspect_logs(snapshot)
            journal = await self._inspect_journal(contents, held)
        return Inspected(
            cluster=cluster,
            deep=self._deep,
            version=held.version,
            objects=segments.objects,
            size_bytes=segments.size_bytes,
            read_bytes=self._reader.read_bytes,
            log_entries=entries,
            journal_objects=journal,
            seconds=self._runtime.monotonic_s() - began_s,
            findings=tuple(self._findings),
            orphans=() if snapshot is None else tuple(orphans(sizes, snapshot)),
            notes=tuple(self._notes),
        )

    @contextlib.asynccontextmanager
    async def _pinned(self) -> AsyncIterator[None]:
        """Hold back removal, where storage can be written to."""
        async with contextlib.AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(pinned(self._store, self._runtime, "inspection"))
            except (StorageError, DiskFull) as error:
                self._notes.append(
                    f"storage cannot be written to ({error.message}), so what a live cluster "
                    "removes meanwhile is reported as missing"
                )
            yield
            try:
                await stack.aclose()
            except PinLost as error:
                self._notes.append(error.message)

    async def _contents(self) -> Contents | None:
        try:
            return await Journal(self._store).contents()
        except CorruptObject as error:
            self._find(Subject.JOURNAL, error.message)
            return None

    def _snapshot(self, held: Changes) -> MetadataSnapshot | None:
        try:
            return MetadataSnapshot.empty().apply(held)
        except CorruptObject as error:
            self._find(Subject.METADATA, f"{error.message}; objects and logs were not looked at")
            return None

    async def _inspect_logs(self, snapshot: MetadataSnapshot | None) -> int:
        """Look at all logs; the number of entries read."""
        if snapshot is None:
            return 0
        known = snapshot.logs
        found = {info.key.split("/")[1] for info in await self._store.list(_LOGS)}
        logs = {*known, *(LogId(int(name)) for name in found if name.isdecimal())}
        entries = 0
        for log_id in sorted(logs):
            self._progress.doing(f"log {log_id}")
            meta = known.get(log_id)
            first = EntrySeq(1) if meta is None else meta.replay_from
            log = LogInspection(self._store, self._reader, log_id, first)
            await log.inspect(deep=self._deep)
            entries += log.entries
            self._findings += log.findings
            self._notes += log.notes
        return entries

    async def _inspect_journal(self, contents: Contents | None, held: Changes) -> int:
        """Look at the journal; the number of objects read."""
        if contents is None:
            return 0
        self._progress.doing("journal")
        journal = JournalInspection(Journal(self._store), self._reader)
        await journal.inspect(contents, held, deep=self._deep)
        self._findings += journal.findings
        self._notes += journal.notes
        return journal.objects

    def _find(self, subject: Subject, message: str) -> None:
        self._findings.append(Finding(subject=subject, key="", message=message))
