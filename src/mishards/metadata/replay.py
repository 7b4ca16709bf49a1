"""The metadata that the journal says there is.

Invariants: of the entries of one version the one of the highest attempt counts, since it was made
in the knowledge that the others never count; it does not count where creating it failed, nor where
an earlier version was committed by a later reign of its log. Only the newest version can be one of
which no entry counts, and only there can an entry count that its database never saw.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby

import msgspec

from mishards.core.errors import CorruptObject, ObjectNotFound
from mishards.core.ids import Epoch, LogId, MetadataVersion
from mishards.metadata.journal import Contents, EntryName, Journal, entry_key
from mishards.metadata.journal_format import JournalEntry, JournalSnapshot, TornJournal
from mishards.metadata.models import LogMeta, decode

_MOST_ATTEMPTS = 10


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """All records of one version, made from the journal.

    Attributes:
        epochs: of each log the newest epoch that committed anything.
        base: version of the snapshot that it was made from; 0 for none.
        applied: entries applied to that.
        notes: what was passed over, and why.
    """

    version: MetadataVersion
    records: Mapping[str, bytes]
    epochs: Mapping[LogId, Epoch]
    base: MetadataVersion
    applied: int
    notes: tuple[str, ...] = ()


async def replay(journal: Journal, until: MetadataVersion | None = None) -> Replayed:
    """Replay the journal, while commits may go on.

    Args:
        until: the version to stop at; None for the newest.

    Raises:
        CorruptObject: an object that is needed is damaged or missing; names it.
        StorageError: try again.
    """
    for attempt in range(_MOST_ATTEMPTS):
        try:
            return await _replay(journal, await journal.contents(), until)
        except ObjectNotFound:  # trimmed since it was listed
            if attempt == _MOST_ATTEMPTS - 1:
                raise
    raise AssertionError


async def _replay(journal: Journal, found: Contents, until: MetadataVersion | None) -> Replayed:
    notes: list[str] = []
    state = _State(await _base(journal, found, until, notes))
    base = state.version
    wanted = [
        one
        for one in found.entries
        if one.version > base and (until is None or one.version <= until)
    ]
    versions = [list(group) for _, group in groupby(wanted, key=lambda one: one.version)]
    for number, attempts in enumerate(versions):
        newest = number == len(versions) - 1 and until is None
        version = attempts[-1].version
        if version != state.version + 1:
            raise CorruptObject(
                f"the metadata journal has no entry of version {state.version + 1}, "
                f"though it has one of version {version}"
            )
        problem = await _apply(journal, attempts[-1], state)
        if problem is None:
            notes += [f"{_name(one)} was given up, never committed" for one in attempts[:-1]]
        elif newest:
            notes.append(f"{problem.message}; never committed")
        else:
            raise CorruptObject(f"{problem.message}, and yet version {version} was committed")
    return Replayed(
        version=state.version,
        records=state.records,
        epochs=state.epochs,
        base=base,
        applied=state.version - base,
        notes=tuple(notes),
    )


class _State:
    """Records while entries are worked in."""

    def __init__(self, base: JournalSnapshot) -> None:
        self.version = base.version
        self.records = dict(base.records)
        self.epochs = dict(_epochs(base.records))

    def apply(self, entry: JournalEntry) -> None:
        for key in entry.deletes:
            self.records.pop(key, None)
        self.records.update(entry.puts)
        self.epochs[entry.log_id] = entry.epoch
        self.version = entry.version


async def _base(
    journal: Journal, found: Contents, until: MetadataVersion | None, notes: list[str]
) -> JournalSnapshot:
    """The newest snapshot that is sound; the empty state where entries reach back to it."""
    for name in reversed(found.snapshots):
        if until is not None and name.version > until:
            continue
        try:
            return await journal.snapshot(name)
        except CorruptObject as error:
            notes.append(f"passed over: {error.message}")
    return JournalSnapshot(version=MetadataVersion(0), records={})


async def _apply(journal: Journal, name: EntryName, state: _State) -> CorruptObject | None:
    """Apply an entry; why it does not count, where it does not."""
    try:
        entry = await journal.entry(name)
    except TornJournal as error:
        return CorruptObject(f"{error.message}: creating it failed")
    reigning = state.epochs.get(entry.log_id, Epoch(0))
    if entry.epoch < reigning:
        return CorruptObject(
            f"{_name(name)} is of epoch {entry.epoch} of log {entry.log_id}, which epoch "
            f"{reigning} had ended"
        )
    state.apply(entry)
    return None


def _epochs(records: Mapping[str, bytes]) -> Iterator[tuple[LogId, Epoch]]:
    """The epochs that records of logs tell."""
    for key, data in records.items():
        if not key.startswith("log/"):
            continue
        try:
            record = decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            continue
        if isinstance(record, LogMeta):
            yield record.id, record.epoch


def _name(name: EntryName) -> str:
    return f"journal entry {entry_key(name.version, name.attempt)!r}"
