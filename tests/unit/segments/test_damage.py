"""Missing, cut, changed or foreign files are refused with their names."""

import errno
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mishards.core.errors import CorruptObject, InternalError, SegmentNotFound, StorageError
from mishards.core.ids import SegmentId
from mishards.segments.deletes import read_deletes, write_deletes
from mishards.segments.manifest import decode_manifest, read_manifest, verify_segment
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


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.8, 0.99])
def test_a_flipped_bit_is_found_by_verification(written, name, share):
    folder, _ = written
    data = bytearray((folder / name).read_bytes())
    data[int(len(data) * share)] ^= 4
    (folder / name).write_bytes(data)
    with pytest.raises(CorruptObject, match=name.replace(".", r"\.")):
        verify_segment(folder)


def test_no_flipped_bit_of_a_manifest_goes_unnoticed(written):
    folder, _ = written
    path = folder / "manifest.json"
    whole = path.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << (place % 7)
        with pytest.raises(CorruptObject, match=r"manifest\.json"):
            decode_manifest(bytes(damaged), "manifest.json")
    assert decode_manifest(whole, "manifest.json").rows == 20


def test_columns_that_are_no_arrow_file_are_refused(written, schema):
    folder, meta = written
    size = (folder / "columns.arrow").stat().st_size
    (folder / "columns.arrow").write_bytes(b"\xff" * size)
    with pytest.raises(CorruptObject, match=r"columns\.arrow"):
        open_segment(folder, meta, schema)


def test_a_later_format_is_refused(written, schema):
    folder, meta = written
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"format_version": 2', '"format_version": 3'))
    with pytest.raises(CorruptObject, match="format version 3"):
        open_segment(folder, meta, schema)


def test_an_earlier_format_without_a_checksum_is_read(written, schema):
    folder, meta = written
    path = folder / "manifest.json"
    text = path.read_text()
    text = text.replace('"format_version": 2', '"format_version": 1')
    path.write_text(text[: text.rindex('"checksum": "')].rstrip().rstrip(",") + "}")
    assert read_manifest(folder).format_version == 1
    assert open_segment(folder, meta, schema).rows == 20
    path.write_text(path.read_text().replace('"format_version": 1', '"format_version": 2'))
    with pytest.raises(CorruptObject, match="carries no checksum"):
        read_manifest(folder)


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


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES])
@pytest.mark.parametrize("what", ["stat", "columns", "vectors", "deletes"])
def test_what_the_system_fails_to_read_is_not_taken_for_damage(
    written, schema, tmp_path, monkeypatch, what, number
):
    """Damage is put aside for a while; storage that is back is to be used at once."""
    folder, meta = written
    path = tmp_path / "some.deletes"
    write_deletes(path, pa.array([1]), np.array([1]))

    def fail(*_args, **_options):
        raise OSError(number, os.strerror(number))

    place = {
        "stat": (Path, "stat"),
        "columns": (pa, "memory_map"),
        "vectors": (np, "memmap"),
        "deletes": (pa, "OSFile"),
    }[what]
    monkeypatch.setattr(*place, fail)
    read = (lambda: read_deletes(path)) if what == "deletes" else None
    with pytest.raises(StorageError) as caught:
        (read or (lambda: open_segment(folder, meta, schema)))()
    monkeypatch.undo()
    assert not isinstance(caught.value, CorruptObject)
    assert os.strerror(number) in caught.value.message
    assert open_segment(folder, meta, schema).rows == 20
