"""Missing, cut, changed or foreign files are refused with their names."""

import pyarrow as pa
import pytest

from mishards.core.errors import CorruptObject, InternalError, SegmentNotFound
from mishards.core.ids import SegmentId
from mishards.segments.manifest import verify_segment
from mishards.segments.read import open_segment

FILES = ["manifest.json", "columns.arrow", "101.vectors", "105.vectors"]


@pytest.fixture
def written(schema, write, rows_of):
    return write(rows_of(schema, list(range(20))), list(range(20)), schema)


def test_a_sound_segment_is_verified(written):
    folder, meta = written
    assert verify_segment(folder).rows == meta.rows == 20


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(written, schema, name):
    folder, meta = written
    (folder / name).unlink()
    with pytest.raises(SegmentNotFound, match=name.replace(".", r"\.")):
        open_segment(folder, meta, schema)
    with pytest.raises(SegmentNotFound, match=name.replace(".", r"\.")):
        verify_segment(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_cut_file_is_named(written, schema, name):
    folder, meta = written
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[:-5])
    with pytest.raises(CorruptObject, match=name.replace(".", r"\.")):
        open_segment(folder, meta, schema)


@pytest.mark.parametrize("name", FILES[1:])
def test_a_flipped_bit_is_found_by_verification(written, name):
    folder, _ = written
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 4
    (folder / name).write_bytes(data)
    with pytest.raises(CorruptObject, match=name.replace(".", r"\.")):
        verify_segment(folder)


def test_columns_that_are_no_arrow_file_are_refused(written, schema):
    folder, meta = written
    size = (folder / "columns.arrow").stat().st_size
    (folder / "columns.arrow").write_bytes(b"\xff" * size)
    with pytest.raises(CorruptObject, match=r"columns\.arrow"):
        open_segment(folder, meta, schema)


def test_a_later_format_is_refused(written, schema):
    folder, meta = written
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"format_version": 1', '"format_version": 2'))
    with pytest.raises(CorruptObject, match="format version 2"):
        open_segment(folder, meta, schema)


def test_the_folder_of_another_segment_is_refused(written, schema):
    folder, meta = written
    other = type(meta)(
        id=SegmentId(8),
        collection_id=meta.collection_id,
        partition_id=meta.partition_id,
        rows=20,
        min_ts=meta.min_ts,
        max_ts=meta.max_ts,
        size_bytes=0,
    )
    with pytest.raises(CorruptObject, match="holds segment 7"):
        open_segment(folder, other, schema)


def test_no_rows_are_no_segment(schema, write, rows_of):
    with pytest.raises(InternalError, match="0 rows"):
        write(rows_of(schema, []), [], schema)
    with pytest.raises(InternalError, match="1 timestamps"):
        write(pa.Table.from_batches([rows_of(schema, [1, 2])]), [1], schema)
