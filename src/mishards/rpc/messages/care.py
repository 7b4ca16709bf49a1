"""Care for what is stored: damaged files and compactions."""

from __future__ import annotations

from mishards.core.ids import CollectionId, LogId, MetadataVersion, SegmentId, Timestamp
from mishards.rpc.messages.form import Form


class ReportDamage(Form, frozen=True, kw_only=True, tag="report_damage"):
    """An index file could not be opened; the leader looks for itself, and has it built anew.

    Attributes:
        name: of the file in the segment's folder.
        reason: what was found.
        log: the collection's.
    """

    collection: CollectionId
    segment: SegmentId
    name: str
    reason: str = ""
    log: LogId = LogId(0)


class LookAgain(Form, frozen=True, kw_only=True, tag="look_again"):
    """A segment's files were found damaged; a reader that has it open compares them once more, and
    refuses it from then on where that is so."""

    collection: CollectionId
    segment: SegmentId


class DamageReply(Form, frozen=True, kw_only=True, tag="damage_reply"):
    """What came of a report: whether an index is built anew, or a segment refused, and why or why
    not."""

    rebuilt: bool
    refused: bool = False
    reason: str = ""


class Compact(Form, frozen=True, kw_only=True, tag="compact"):
    """Compact a collection; answers when that is noted, not when it is done.

    Attributes:
        deletes_only: only rewrite segments with deleted rows.
        target_bytes: most bytes of a segment; 0 for the writer's own limit.
        log: the collection's.
        version: of the metadata that names it; the leader's is as new.
    """

    collection: CollectionId
    log: LogId = LogId(0)
    version: MetadataVersion = MetadataVersion(0)
    deletes_only: bool = False
    target_bytes: int = 0


class CompactionStarted(Form, frozen=True, kw_only=True, tag="compaction_started"):
    """The id by which to ask how a compaction goes, the leader of log `id % MOST_LOGS`."""

    id: Timestamp


class GetCompaction(Form, frozen=True, kw_only=True, tag="get_compaction"):
    """Ask how a compaction goes; of one that the leader does not know, it is completed."""

    id: Timestamp
    log: LogId = LogId(0)


class CompactionPlan(Form, frozen=True, kw_only=True):
    """Segments to merge, and what came of them; no targets where that is not done."""

    sources: tuple[SegmentId, ...]
    targets: tuple[SegmentId, ...] = ()


class CompactionStatus(Form, frozen=True, kw_only=True, tag="compaction_status"):
    """How a compaction goes.

    Attributes:
        executing: it has not come to its end, good or bad.
        collection: 0 where the compaction is not known.
    """

    executing: bool
    collection: CollectionId = CollectionId(0)
    executing_plans: int = 0
    completed_plans: int = 0
    failed_plans: int = 0
    plans: tuple[CompactionPlan, ...] = ()
