"""Names of the files of a segment, and how its columns stand in them.

Invariant: a name depends on ids only, so every node computes the same one.
"""

from __future__ import annotations

from pathlib import Path

from mishards.core.ids import CollectionId, FieldId, IndexId, SegmentId

MANIFEST = "manifest.json"
COLUMNS = "columns.arrow"
TIMESTAMPS = "$ts"
"""Column of the rows' timestamps, int64."""


def vectors_file(field_id: FieldId) -> str:
    """Raw little-endian float32, row after row."""
    return f"{field_id}.vectors"


def validity_column(field_id: FieldId) -> str:
    """Bool column of `COLUMNS` for a nullable vector field: false where the vector is null."""
    return f"$valid.{field_id}"


def index_file(field_id: FieldId, index_id: IndexId) -> str:
    """A built index of a vector field; each index has an id of its own, so a name is never
    used for other contents."""
    return f"{field_id}.{index_id}.index"


def segment_key(collection_id: CollectionId, segment_id: SegmentId, name: str) -> str:
    """Key of a segment's file in the object store."""
    return f"segments/{collection_id}/{segment_id}/{name}"


def deletes_key(collection_id: CollectionId, name: str) -> str:
    """Key of a file of deletes in the object store."""
    return f"segments/{collection_id}/deletes/{name}"


def segment_files(folder: Path) -> list[Path]:
    """The files `write_segment` left in `folder`, the manifest last: once it is copied, the
    segment is whole."""
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and path.name != MANIFEST]
    return [*files, folder / MANIFEST]
