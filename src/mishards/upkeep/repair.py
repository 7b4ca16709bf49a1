"""Rebuilding the metadata database from its journal on shared storage.

Invariants: records only ever come from one of the two, whole; the one that is further counts. The
database is changed in one transaction, the journal after it, so an interrupted repair is simply
repeated. Without `force` nothing is done while a writer may live.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable

import msgspec

from mishards.core.errors import CorruptObject, MetadataConflict
from mishards.core.ids import LogId, MetadataVersion
from mishards.metadata.journal import Contents, Journal
from mishards.metadata.journal_format import JournalSnapshot, encode_journal
from mishards.metadata.protocol import Changes, MetadataStore
from mishards.metadata.replay import Replayed, replay
from mishards.metadata.snapshot import MetadataSnapshot

_SHOWN = 5


class Outcome(enum.StrEnum):
    """What a repair does."""

    NOTHING = "nothing"
    DATABASE = "database rebuilt from the journal"
    JOURNAL = "journal made anew from the database"


class LogLine(msgspec.Struct, frozen=True, kw_only=True):
    """What the metadata says of a log."""

    id: int
    epoch: int
    leader: str
    replay_from: int


class Holdings(msgspec.Struct, frozen=True, kw_only=True):
    """How much the metadata holds."""

    databases: int
    collections: int
    partitions: int
    indexes: int
    segments: int
    rows_sealed: int
    logs: tuple[LogLine, ...]


class RepairReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was found, and what was done, or would be.

    Attributes:
        journal_version: None for a journal that cannot be replayed.
        version: of the metadata in the end.
        holdings: in the end.
        base: version of the snapshot that the journal was replayed from.
        entries: applied to that.
        removed: objects of the journal that are of no use any more.
        notes: what was passed over in the journal, and why.
    """

    outcome: Outcome
    dry_run: bool
    reason: str
    database_version: int
    journal_version: int | None
    version: int
    base: int
    entries: int
    holdings: Holdings
    removed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class _Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The decision: which records count, at which version."""

    outcome: Outcome
    reason: str
    records: JournalSnapshot
    replayed: Replayed | None


async def repair(
    metadata: MetadataStore, journal: Journal, *, dry_run: bool, force: bool
) -> RepairReport:
    """Bring database and journal to one state.

    Args:
        metadata: the database itself, without a journal's layer.
        force: where both hold other records at one version, take those of the journal; where they
            agree, make the journal anew all the same.

    Raises:
        MetadataConflict: they do, and `force` is not given.
        CorruptObject: the journal is damaged and the database is not as far as it; or a record
            cannot be read. Names the object.
        StorageError, MetadataUnavailable, DiskFull: repeat it.
    """
    held = await metadata.changes(MetadataVersion(0))
    contents = await journal.contents()
    replayed, damage = await _replayed(journal)
    plan = _plan(held, contents, replayed, damage, force)
    snapshot = MetadataSnapshot.empty().apply(
        Changes(MetadataVersion(0), plan.records.version, tuple(plan.records.records.items()))
    )
    removed: list[str] = []
    if not dry_run:
        removed = await _carry_out(metadata, journal, plan)
    return RepairReport(
        outcome=plan.outcome,
        dry_run=dry_run,
        reason=plan.reason,
        database_version=held.version,
        journal_version=None if replayed is None else replayed.version,
        version=plan.records.version,
        base=0 if replayed is None else replayed.base,
        entries=0 if replayed is None else replayed.applied,
        removed=tuple(removed),
        notes=_notes(replayed, damage),
        holdings=_holdings(snapshot),
    )


async def _replayed(journal: Journal) -> tuple[Replayed | None, CorruptObject | None]:
    try:
        return await replay(journal), None
    except CorruptObject as error:
        return None, error


def _plan(
    held: Changes,
    contents: Contents,
    replayed: Replayed | None,
    damage: CorruptObject | None,
    force: bool,
) -> _Plan:
    database = JournalSnapshot(version=held.version, records=dict(held.puts))
    if replayed is None:
        assert damage is not None
        if held.version + 1 < contents.head:
            raise CorruptObject(
                f"{damage.message}; the database, at version {held.version}, is not as far as the "
                f"journal, at {contents.head}, so neither can be made of the other: restore a "
                "backup"
            )
        reason = f"the journal is damaged ({damage.message}), and the database is as far as it"
        return _Plan(outcome=Outcome.JOURNAL, reason=reason, records=database, replayed=None)
    told = JournalSnapshot(version=replayed.version, records=replayed.records)
    if told.version > held.version:
        reason = f"the database misses {told.version - held.version} commits of the journal"
        return _Plan(outcome=Outcome.DATABASE, reason=reason, records=told, replayed=replayed)
    if told.version < held.version:
        reason = f"the journal misses {held.version - told.version} commits of the database"
        return _Plan(outcome=Outcome.JOURNAL, reason=reason, records=database, replayed=replayed)
    if told.records == database.records:
        if contents.snapshots and replayed.base != contents.snapshots[-1].version:
            reason = "database and journal agree, but a snapshot of the journal is damaged"
            return _Plan(
                outcome=Outcome.JOURNAL, reason=reason, records=database, replayed=replayed
            )
        reason = "database and journal agree"
        if force:
            return _Plan(
                outcome=Outcome.JOURNAL, reason=reason, records=database, replayed=replayed
            )
        return _Plan(outcome=Outcome.NOTHING, reason=reason, records=told, replayed=replayed)
    reason = (
        f"database and journal differ at version {held.version} in {_differing(told, database)}"
    )
    if not force:
        raise MetadataConflict(f"{reason}: with --force those of the journal are taken")
    beyond = msgspec.structs.replace(told, version=MetadataVersion(told.version + 1))
    return _Plan(outcome=Outcome.DATABASE, reason=reason, records=beyond, replayed=replayed)


async def _carry_out(metadata: MetadataStore, journal: Journal, plan: _Plan) -> list[str]:
    """Do it; keys of the objects removed from the journal."""
    if plan.outcome is Outcome.NOTHING:
        return []
    records = plan.records
    if plan.outcome is Outcome.DATABASE and plan.replayed is not None:
        changes = Changes(MetadataVersion(0), records.version, tuple(records.records.items()))
        await metadata.restore(changes, plan.replayed.epochs)
    await journal.add_snapshot(records.version, encode_journal(records))
    if plan.outcome is Outcome.DATABASE:
        # What is beyond was never committed; the rest still backs the new snapshot up.
        return await journal.cut(records.version)
    return await journal.begin_at(records.version)


def _differing(one: JournalSnapshot, other: JournalSnapshot) -> str:
    keys = sorted(
        key
        for key in one.records.keys() | other.records.keys()
        if one.records.get(key) != other.records.get(key)
    )
    shown = ", ".join(repr(key) for key in keys[:_SHOWN])
    return shown if len(keys) <= _SHOWN else f"{shown} and {len(keys) - _SHOWN} more"


def _notes(replayed: Replayed | None, damage: CorruptObject | None) -> tuple[str, ...]:
    if replayed is not None:
        return replayed.notes
    return () if damage is None else (damage.message,)


def _holdings(snapshot: MetadataSnapshot) -> Holdings:
    views = snapshot.collections.values()
    return Holdings(
        databases=len(snapshot.databases),
        collections=len(views),
        partitions=sum(len(view.meta.partitions) for view in views),
        indexes=sum(len(view.meta.indexes) for view in views),
        segments=sum(len(view.segments) for view in views),
        rows_sealed=sum(s.rows for view in views for s in view.segments.values()),
        logs=tuple(_logs(snapshot)),
    )


def _logs(snapshot: MetadataSnapshot) -> Iterable[LogLine]:
    for log_id in sorted(snapshot.logs):
        log = snapshot.logs[LogId(log_id)]
        yield LogLine(id=log.id, epoch=log.epoch, leader=log.leader, replay_from=log.replay_from)
