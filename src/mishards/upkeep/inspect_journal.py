"""Compares the metadata database with its journal on shared storage."""

from __future__ import annotations

from collections.abc import Awaitable

from mishards.core.errors import CorruptObject, MishardsError, ObjectNotFound
from mishards.metadata.journal import Contents, Journal, entry_key, snapshot_key
from mishards.metadata.journal_format import TornJournal
from mishards.metadata.protocol import Changes
from mishards.metadata.replay import Replayed, replay
from mishards.upkeep.findings import Finding, Subject
from mishards.upkeep.reading import PacedReader

_ADVICE = "`mishards repair` makes them one"


class JournalInspection:
    """One look at the journal. From the loop's thread.

    Attributes:
        objects: that were read.
    """

    def __init__(self, journal: Journal, reader: PacedReader) -> None:
        self._journal = journal
        self._reader = reader
        self.objects = 0
        self.findings: list[Finding] = []
        self.notes: list[str] = []

    async def inspect(self, contents: Contents, held: Changes, *, deep: bool) -> None:
        """Look.

        Args:
            contents: of the journal, listed before the database was read.
            held: all records of the database.
            deep: read every object, those too that nobody needs any more.
        """
        if contents.head > held.version + 1:
            self._find(
                "",
                f"the metadata database is at version {held.version}, the journal at "
                f"{contents.head}: {_ADVICE}",
            )
            return
        try:
            told = await replay(self._journal, held.version)
        except MishardsError as error:
            self._find("", error.message)
        else:
            self.objects = told.applied + bool(told.base)
            self._compare(told, held)
        if deep:
            await self._read_all(contents)

    def _compare(self, told: Replayed, held: Changes) -> None:
        self.notes += [f"journal: {note}" for note in told.notes]
        if told.version != held.version:
            self._find(
                "",
                f"the journal ends at version {told.version}, the metadata database is at "
                f"{held.version}; the next leader, or `mishards repair`, makes it whole",
            )
            return
        records = dict(held.puts)
        for key in sorted(records.keys() | told.records.keys()):
            if records.get(key) != told.records.get(key):
                self._find(
                    "",
                    f"record {key!r} of the metadata database is not that of the journal at "
                    f"version {held.version}: {_ADVICE}",
                )

    async def _read_all(self, contents: Contents) -> None:
        self.objects = 0
        for snapshot in contents.snapshots:
            await self._read(snapshot_key(snapshot.version), self._journal.snapshot(snapshot))
            await self._reader.took(snapshot.size_bytes)
        for entry in contents.entries:
            await self._read(entry_key(entry.version, entry.attempt), self._journal.entry(entry))
            await self._reader.took(entry.size_bytes)

    async def _read(self, key: str, reading: Awaitable[object]) -> None:
        try:
            await reading
        except ObjectNotFound:
            return  # trimmed since it was listed
        except TornJournal as error:
            self.notes.append(f"journal: {error.message}")
        except CorruptObject as error:
            if all(finding.message != error.message for finding in self.findings):
                self._find(key, error.message)
        self.objects += 1

    def _find(self, key: str, message: str) -> None:
        self.findings.append(Finding(subject=Subject.JOURNAL, key=key, message=message))
