"""Names of the files of a segment, and how its columns stand in them.

Invariant: a name depends on ids only, so every node computes the same one.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from mishards.core.ids import CollectionId, FieldId, IndexId, SegmentId

MANIFEST = "manifest.json"
COLUMNS = "columns.arrow"
SEGMENTS = "segments/"
"""What the keys of all objects of collections start with."""
_DELETES = "deletes"
_INDEX = ".index"
TIMESTAMPS = "$ts"
"""Column of the rows' timestamps, int64."""


def vectors_file(field_id: FieldId) -> str:
    """Raw little-endian float32, row after row."""
    return f"{field_id}.vectors"


def validity_column(field_id: FieldId) -> str:
    """Bool column of `COLUMNS` for a nullable vector field: false where the vector is null."""
    return f"$valid.{field_id}"


def index_file(field_id: FieldId, index_id: IndexId, build: int) -> str:
    """A built index of a vector field; `build` is another one for each build, so a name is never
    used for other contents, nor again after its file was removed."""
    return f"{field_id}.{index_id}.{build}{_INDEX}"


def is_index_file(name: str) -> bool:
    """Whether a file of a segment's folder is an index; all others are named by the manifest."""
    return name.endswith(_INDEX)


def segment_key(collection_id: CollectionId, segment_id: SegmentId, name: str) -> str:
    """Key of a segment's file in the object store."""
    return f"{SEGMENTS}{collection_id}/{segment_id}/{name}"


def deletes_key(collection_id: CollectionId, name: str) -> str:
    """Key of a file of deletes in the object store."""
    return f"{SEGMENTS}{collection_id}/{_DELETES}/{name}"


class Place(NamedTuple):
    """What a key says of its object; `segment_id` None for a file of deletes."""

    collection_id: CollectionId
    segment_id: SegmentId | None
    name: str


def parse_key(key: str) -> Place | None:
    """Where an object below `SEGMENTS` belongs; None for a key that this code never makes."""
    match key.removeprefix(SEGMENTS).split("/"):
        case [collection, folder, name] if collection.isdecimal():
            if folder == _DELETES:
                return Place(CollectionId(int(collection)), None, name)
            if folder.isdecimal():
                return Place(CollectionId(int(collection)), SegmentId(int(folder)), name)
    return None


def segment_files(folder: Path) -> list[Path]:
    """The files `write_segment` left in `folder`, the manifest last: once it is copied, the
    segment is whole."""
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and path.name != MANIFEST]
    return [*files, folder / MANIFEST]
