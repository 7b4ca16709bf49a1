"""Which objects are garbage: decided from what is named, what was seen before, and who still reads.

Pure. Invariants: an object is garbage only where it was unreferenced in two looks at least
`grace_s` apart, and in all between, and where every node has come to metadata as new as that of
the first of them. Each log's leader judges its own collections; what belongs to no collection is
judged by the leader of the first log, which alone makes and drops them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from mishards.cluster.peers import PeerStatus
from mishards.core.ids import DDL_LOG, CollectionId, LogId, MetadataVersion
from mishards.metadata.snapshot import CollectionView, MetadataSnapshot
from mishards.segments.layout import MANIFEST, Place, is_index_file, parse_key

_READING_ROLES = frozenset({"reader", "proxy"})


class Mark(msgspec.Struct, frozen=True):
    """When an object was first seen unreferenced, and in which metadata."""

    since_s: float
    version: MetadataVersion


class Verdict(msgspec.Struct, frozen=True):
    """What one look decides.

    Attributes:
        remove: garbage, in the order in which to remove it.
        marks: of all that is unreferenced, garbage among it, for the next look.
    """

    remove: tuple[str, ...]
    marks: dict[str, Mark]


def unreferenced(keys: Iterable[str], snapshot: MetadataSnapshot, log_id: LogId) -> list[str]:
    """Those of `keys` that metadata does not name and this log's leader has to judge."""
    deletes = {
        view.id: {file.name for file in view.meta.deletes} for view in snapshot.collections.values()
    }
    found = []
    for key in keys:
        place = parse_key(key)
        if place is None:
            continue
        view = snapshot.collections.get(place.collection_id)
        if _judge(view) == log_id and not _is_named(place, view, deletes):
            found.append(key)
    return found


def judge(
    found: Sequence[str],
    marks: Mapping[str, Mark],
    *,
    now_s: float,
    grace_s: float,
    version: MetadataVersion,
    oldest: MetadataVersion,
) -> Verdict:
    """Decide on what is unreferenced.

    Args:
        found: unreferenced in metadata `version`, and not under construction.
        marks: of the look before.
        now_s: on the clock of the marks.
        oldest: version that the node furthest behind still reads.
    """
    fresh = Mark(now_s, version)
    kept = {key: marks.get(key, fresh) for key in found}
    garbage = [
        key
        for key, mark in kept.items()
        if key in marks and now_s - mark.since_s >= grace_s and oldest >= mark.version
    ]
    return Verdict(tuple(sorted(garbage, key=_order)), kept)


def oldest_in_use(peers: Sequence[PeerStatus]) -> MetadataVersion | None:
    """The oldest version that any node still reads; None where no node reads anything.

    A node that does not answer, or has not got as far as to say what it reads, may read all.
    """
    versions = []
    for node, status in peers:
        if _READING_ROLES.isdisjoint(node.roles):
            continue
        if status is None or status.oldest_version is None:
            return MetadataVersion(0)
        versions.append(status.oldest_version)
    return min(versions, default=None)


def _judge(view: CollectionView | None) -> LogId:
    return DDL_LOG if view is None else view.meta.log_id


def _is_named(
    place: Place, view: CollectionView | None, deletes: Mapping[CollectionId, set[str]]
) -> bool:
    if view is None:
        return False
    if place.segment_id is None:
        return place.name in deletes[view.id]
    segment = view.segments.get(place.segment_id)
    if segment is None:
        return False
    return not is_index_file(place.name) or any(i.name == place.name for i in segment.indexes)


def _order(key: str) -> tuple[str, bool]:
    """Manifests first: a segment of which something is gone must not look whole."""
    folder, _, name = key.rpartition("/")
    return folder, name != MANIFEST
