"""Names of the steps by which a node changes something durable, as its stores see them.

Invariant: a name follows from the call alone: what is done, and to what kind of object or record.
So whatever a node comes to make durable has a name, without a mark at the place where it does so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mishards.core.ids import NodeId
from mishards.discovery.election import NOBODY, Lease
from mishards.segments.layout import MANIFEST, SEGMENTS, is_index_file, parse_key


def storage_step(operation: str, key: str) -> str:
    """Of an operation on an object: `storage: create log`."""
    return f"storage: {operation} {_kind(key)}"


def commit_step(puts: Mapping[str, bytes], deletes: Iterable[str]) -> str:
    """Of a metadata commit, by the kinds of its records: `metadata: commit log, -segment`."""
    kinds = {_record(key) for key in puts} | {f"-{_record(key)}" for key in deletes}
    return f"metadata: commit {', '.join(sorted(kinds))}"


def lease_step(seen: Lease, holder: NodeId, heir: NodeId) -> str:
    """Of a change of a lease: it is claimed, renewed or left."""
    if holder == NOBODY:
        return "lease: leave to an heir" if heir != NOBODY else "lease: leave"
    return "lease: renew" if holder == seen.holder else "lease: claim"


def _kind(key: str) -> str:
    """Of an object."""
    if not key.startswith(SEGMENTS):
        return key.partition("/")[0]
    place = parse_key(key)
    if place is None:
        return "segments"
    if place.segment_id is None:
        return "deletes"
    if place.name == MANIFEST:
        return "manifest"
    return "index" if is_index_file(place.name) else place.name.rpartition(".")[2]


def _record(key: str) -> str:
    return key.partition("/")[0]
