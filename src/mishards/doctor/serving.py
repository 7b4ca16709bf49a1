"""Collections: does somebody serve each segment, as often as was asked for, whole and indexed?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from mishards.core.ids import SegmentId, Timestamp
from mishards.core.timestamps import physical_ms
from mishards.doctor.findings import Check, Finding
from mishards.doctor.nodes import NodeFacts
from mishards.doctor.words import duration, listed
from mishards.metadata.models import SegmentMeta
from mishards.metadata.snapshot import CollectionView, MetadataSnapshot
from mishards.writer.build import missing_indexes

REPLICAS = Check(
    "collections.replicas",
    "Are there as many readers as collections are to have replicas?",
    "with fewer readers than replicas the loss of a reader is felt: its segments are opened anew "
    "elsewhere before they are searched as fast",
)
SERVED = Check(
    "collections.served",
    "Is every segment of a loaded collection open on a reader?",
    "the first search that needs it waits until a reader has opened it, or fails",
)
DAMAGE = Check(
    "collections.damage",
    "Is no segment refused as damaged?",
    "a segment that no reader can open is missing from every search: it fails, or is partial",
)
INDEXES = Check(
    "collections.indexes",
    "Do segments have their indexes?",
    "a segment without its index is searched on its raw vectors: exact, and slower",
)
CHECKS = (REPLICAS, SERVED, DAMAGE, INDEXES)

_BUILD_S = 900.0
"""A segment that waits longer for its index, waits for something that does not come."""


def judge_serving(
    snapshot: MetadataSnapshot, nodes: Sequence[NodeFacts], now_ms: int
) -> Iterator[Finding]:
    """What follows from what metadata asks for and readers have open."""
    readers = [node for node in nodes if node.serves and "reader" in node.now.roles]
    loaded = [view for view in snapshot.collections.values() if view.meta.loaded_partitions]
    if not loaded:
        yield REPLICAS.ok("no collection is loaded")
    else:
        yield from _replicas(loaded, readers)
        yield from _served(loaded, readers)
    yield from _damage(snapshot, nodes)
    yield from _indexes(snapshot, now_ms)


def _replicas(loaded: Sequence[CollectionView], readers: Sequence[NodeFacts]) -> Iterator[Finding]:
    short = [view for view in loaded if view.meta.replica_number > len(readers)]
    for view in short:
        yield REPLICAS.warning(
            f"collection {view.name!r} is to have {view.meta.replica_number} replicas, and "
            f"{len(readers)} readers serve",
            "start readers (mishards reader --config FILE), or load it again with fewer replicas",
        )
    if not short:
        yield REPLICAS.ok(f"{len(readers)} readers for {len(loaded)} loaded collections")


def _served(loaded: Sequence[CollectionView], readers: Sequence[NodeFacts]) -> Iterator[Finding]:
    answering = [node.status for node in readers if node.status is not None]
    if not answering:
        return  # that there is none is told by discovery
    opened: set[SegmentId] = set().union(*(status.segments for status in answering))
    well = True
    for view in loaded:
        wanted = loaded_segments(view)
        missing = [segment for segment in wanted if segment.id not in opened]
        if not missing:
            continue
        well = False
        rows = sum(segment.rows for segment in missing)
        yield SERVED.warning(
            f"collection {view.name!r}: {len(missing):,} of {len(wanted):,} segments with {rows:,} "
            f"rows are open nowhere: {listed(segment.id for segment in missing)}",
            "look again in some seconds, for readers open them by themselves; if it lasts, look at "
            "their logs and at the room for their cache (reader.cache_bytes)",
        )
    if well:
        yield SERVED.ok("every segment of the loaded collections is open on a reader")


def _damage(snapshot: MetadataSnapshot, nodes: Sequence[NodeFacts]) -> Iterator[Finding]:
    refused: dict[SegmentId, list[str]] = defaultdict(list)
    reasons: dict[SegmentId, str] = {}
    for node in nodes:
        for segment, reason in {} if node.status is None else node.status.quarantined.items():
            refused[segment].append(node.id)
            reasons[segment] = reason
    names = {s: view.name for view in snapshot.collections.values() for s in view.segments}
    for segment, ids in refused.items():
        yield DAMAGE.failure(
            f"segment {segment} of collection {names.get(segment, '?')!r} is refused by "
            f"{listed(ids)}: {reasons[segment]}",
            "mishards scrub says what is damaged; put the object back from a backup, or restore "
            "the collection: mishards restore",
        )
    if not refused:
        yield DAMAGE.ok("no segment is refused")


def _indexes(snapshot: MetadataSnapshot, now_ms: int) -> Iterator[Finding]:
    well = True
    for view in snapshot.collections.values():
        log = snapshot.logs.get(view.meta.log_id)
        missing = list(missing_indexes(view, 0 if log is None else log.build_min_rows))
        if not missing:
            continue
        well = False
        rows = sum(one.segment.rows for one in missing)
        oldest_s = max(now_ms - _sealed_ms(one.segment) for one in missing) / 1000
        told = (
            f"collection {view.name!r}: {len(missing):,} indexes are to be built on {rows:,} rows; "
            f"the oldest waits for {duration(max(0.0, oldest_s))}"
        )
        if oldest_s > _BUILD_S:
            yield INDEXES.warning(
                told,
                "look at the leader's log for builds that fail; give builds more with "
                "writer.build_workers and writer.build_threads, or the writer more processors",
            )
        else:
            yield INDEXES.note(told)
    if not well:
        return
    yield INDEXES.ok("every segment that is to have an index has it")


def loaded_segments(view: CollectionView) -> list[SegmentMeta]:
    """The segments of the loaded partitions."""
    loaded = view.meta.loaded_partitions
    return [segment for segment in view.segments.values() if segment.partition_id in loaded]


def _sealed_ms(segment: SegmentMeta) -> int:
    """When it was named: a segment's id is a timestamp of its leader."""
    return physical_ms(Timestamp(segment.id))
