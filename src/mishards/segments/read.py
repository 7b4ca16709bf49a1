"""An open segment: memory-mapped columns and vectors.

Invariants: nothing is parsed or copied at opening, so it takes milliseconds; every array handed
out is a view of the files (or a copy of chosen rows) and must not be written to. Thread-safe.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mishards.core.columns import arrow_type
from mishards.core.errors import CorruptObject, FieldNotFound, SegmentNotFound
from mishards.core.schema import CollectionSchema, DataType, FieldSchema
from mishards.index.distance import inverse_norms
from mishards.index.protocol import Bitmap, Floats, Offsets
from mishards.metadata.models import SegmentMeta
from mishards.segments.bitmaps import Mask, pack
from mishards.segments.keys import find_integers, find_texts
from mishards.segments.layout import COLUMNS, TIMESTAMPS, validity_column, vectors_file
from mishards.segments.manifest import Manifest, check_sizes, read_manifest, unreadable


def open_segment(folder: Path, meta: SegmentMeta, schema: CollectionSchema) -> Segment:
    """Open the segment in `folder`. Blocking, for milliseconds.

    Sizes are compared with the manifest, checksums are not: see `verify_segment`.

    Raises:
        SegmentNotFound: a file is missing; names it.
        CorruptObject: a file has another size or another format; names it.
        StorageError: the system failed to read a file; names it.
    """
    manifest = read_manifest(folder)
    if manifest.segment_id != meta.id or manifest.rows != meta.rows:
        raise CorruptObject(
            f"segment folder {folder} holds segment {manifest.segment_id} of {manifest.rows} rows; "
            f"expected {meta.id} of {meta.rows}"
        )
    check_sizes(folder, manifest)
    columns = _map_columns(folder, manifest)
    vectors = {field.name: _map_vectors(folder, field, manifest) for field in schema.vectors}
    return Segment(meta, schema, columns, vectors)


def open_rows(folder: Path, meta: SegmentMeta, schema: CollectionSchema) -> Segment:
    """As `open_segment`, without vectors: its files of vectors need not be there. Blocking."""
    return Segment(meta, schema, _map_columns(folder, read_manifest(folder)), {})


def _map_columns(folder: Path, manifest: Manifest) -> pa.RecordBatch:
    path = folder / COLUMNS
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        batch = reader.get_batch(0)
    except FileNotFoundError:
        raise SegmentNotFound(f"segment file {path} is missing") from None
    except (pa.ArrowException, OSError) as error:
        raise unreadable(f"segment file {path}", error) from error
    if batch.num_rows != manifest.rows or reader.num_record_batches != 1:
        raise CorruptObject(f"segment file {path} has {batch.num_rows} rows, not {manifest.rows}")
    return batch


def _map_vectors(folder: Path, field: FieldSchema, manifest: Manifest) -> Floats:
    path = folder / vectors_file(field.id)
    shape = (manifest.rows, field.dim)
    try:
        mapped = np.memmap(path, dtype="<f4", mode="r")
    except FileNotFoundError:
        raise SegmentNotFound(f"segment file {path} is missing") from None
    except OSError as error:
        raise unreadable(f"segment file {path}", error) from error
    if mapped.size != shape[0] * shape[1]:
        raise CorruptObject(
            f"segment file {path} holds {mapped.size} numbers; "
            f"{shape[0]} rows of dimension {shape[1]} are expected"
        )
    # A plain array over the map: the subclass costs a microsecond at each slice.
    return np.asarray(mapped).reshape(shape)


class Segment:
    """A sealed segment, open.

    Attributes:
        timestamps: of the rows, shape (rows,).
        keys: the primary keys, sorted: an int64 array, or an Arrow string array.
    """

    def __init__(
        self,
        meta: SegmentMeta,
        schema: CollectionSchema,
        columns: pa.RecordBatch,
        vectors: dict[str, Floats],
    ) -> None:
        self.meta = meta
        self.schema = schema
        self.rows = meta.rows
        self._columns = {
            name: columns.column(position) for position, name in enumerate(columns.schema.names)
        }
        self._vectors = vectors
        self._valid_bitmaps: dict[str, Bitmap | None] = {}
        self._inverse_norms: dict[str, Floats] = {}
        self.timestamps: Offsets = self.column(TIMESTAMPS).to_numpy()
        keys = self.column(schema.primary.name)
        self._integer_keys = schema.primary.type is DataType.INT64
        self.keys: Any = keys.to_numpy() if self._integer_keys else keys

    def column(self, name: str) -> pa.Array:
        """A whole column as one array, `$ts` included; a vector field as fixed-size lists.

        Raises:
            FieldNotFound: the segment has no such column.
        """
        column = self._columns.get(name)
        if column is not None:
            return column
        if name in self._vectors:
            return self._vector_column(name, self._vectors[name], self.validity(name))
        raise FieldNotFound(f"segment {self.meta.id} has no column {name!r}")

    def vectors(self, field_name: str) -> Floats:
        """The raw vectors of a field, float32, shape (rows, dim); zeros where they are null.

        Raises:
            FieldNotFound: the segment has no such vector field.
        """
        try:
            return self._vectors[field_name]
        except KeyError:
            raise FieldNotFound(
                f"segment {self.meta.id} has no vector field {field_name!r}"
            ) from None

    def validity(self, field_name: str) -> Mask | None:
        """False where a nullable vector is null, shape (rows,); None when no vector can be."""
        column = self._columns.get(validity_column(self.schema.by_name[field_name].id))
        return None if column is None else column.to_numpy(zero_copy_only=False)

    def valid_bitmap(self, field_name: str) -> Bitmap | None:
        """Rows whose vector is not null, packed; None when that is all of them."""
        try:
            return self._valid_bitmaps[field_name]
        except KeyError:
            valid = self.validity(field_name)
            bitmap = None if valid is None or bool(valid.all()) else pack(valid)
            self._valid_bitmaps[field_name] = bitmap
            return bitmap

    def inverse_norms(self, field_name: str) -> Floats:
        """One over the length of each vector of the field; computed once, then kept."""
        found = self._inverse_norms.get(field_name)
        if found is None:
            found = self._inverse_norms[field_name] = inverse_norms(self.vectors(field_name))
        return found

    def take(self, names: Sequence[str], offsets: Offsets) -> pa.RecordBatch:
        """Columns `names` of chosen rows, in the order of `offsets`; a copy.

        Raises:
            FieldNotFound: the segment has no such column.
        """
        rows = pa.array(offsets)
        arrays = []
        for name in names:
            if name in self._vectors:
                valid = self.validity(name)
                chosen = None if valid is None else valid[offsets]
                arrays.append(self._vector_column(name, self._vectors[name][offsets], chosen))
            else:
                arrays.append(self.column(name).take(rows))
        return pa.RecordBatch.from_arrays(arrays, names=list(names))

    def take_keys(self, offsets: Offsets) -> Any:
        """Primary keys of chosen rows: int64 array, or Arrow string array."""
        return self.keys[offsets] if self._integer_keys else self.keys.take(pa.array(offsets))

    def find(self, keys: pa.Array) -> tuple[Offsets, Offsets]:
        """Rows with these primary keys, of the key's Arrow type and without nulls.

        Returns:
            Positions in `keys` and row offsets, a pair per match, by position; a key that stands
            in several rows gives several.
        """
        if self._integer_keys:
            return find_integers(self.keys, keys.to_numpy())
        return find_texts(self.keys, keys)

    def _vector_column(self, name: str, vectors: Floats, valid: Mask | None) -> pa.Array:
        kind = arrow_type(self.schema.by_name[name])
        flat = pa.array(vectors.reshape(-1))
        mask = None if valid is None or bool(valid.all()) else pa.array(~valid)
        return pa.FixedSizeListArray.from_arrays(flat, type=kind, mask=mask)
