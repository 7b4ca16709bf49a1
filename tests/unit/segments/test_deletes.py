"""Delete files, and which rows deletes hide at which timestamp."""

import numpy as np
import pyarrow as pa
import pytest

from mishards.core.errors import CorruptObject, ObjectNotFound
from mishards.core.timestamps import MAX_TIMESTAMP
from mishards.segments import bitmaps
from mishards.segments.deletes import DeleteMask, read_deletes, write_deletes


def stamps(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def visible(mask: DeleteMask, segment, read_ts: int) -> list[int]:
    bitmap, count = mask.visible(read_ts)
    offsets = np.arange(segment.rows) if bitmap is None else bitmaps.offsets(bitmap, segment.rows)
    assert count == len(offsets)
    return segment.keys[offsets].tolist()


@pytest.mark.parametrize(
    "keys", [pa.array([3, 1, 3]), pa.array(["b", "a", "ü"]), pa.array([], pa.int64())]
)
def test_a_file_gives_back_its_deletes(tmp_path, keys):
    path = tmp_path / "deletes"
    times = np.arange(len(keys), dtype=np.int64) + 10
    info = write_deletes(path, keys, times)
    assert info.size_bytes == path.stat().st_size
    found_keys, found_times = read_deletes(path, info.checksum)
    assert found_keys.equals(keys)
    assert found_times.tolist() == times.tolist()


def test_missing_and_corrupt_files_are_named(tmp_path):
    path = tmp_path / "gone.deletes"
    with pytest.raises(ObjectNotFound, match=r"gone\.deletes"):
        read_deletes(path)
    with pytest.raises(ObjectNotFound, match=r"gone\.deletes"):
        read_deletes(path, 1)
    path.write_bytes(b"no arrow here, only words")
    with pytest.raises(CorruptObject, match=r"gone\.deletes"):
        read_deletes(path)
    info = write_deletes(path, pa.array([1]), stamps(1))
    with pytest.raises(CorruptObject, match="checksum"):
        read_deletes(path, info.checksum ^ 1)


def test_without_deletes_all_is_visible_without_a_bitmap(make):
    mask = DeleteMask(make([1, 2, 3], [10, 20, 30]))
    assert mask.visible(30) == (None, 3)
    assert mask.visible(MAX_TIMESTAMP) == (None, 3)


def test_rows_are_seen_from_their_timestamp_to_their_delete(make):
    segment = make([1, 2, 3], [10, 20, 30])
    mask = DeleteMask(segment)
    assert mask.apply(pa.array([1, 9]), stamps(25, 26)) == 1
    assert visible(mask, segment, 9) == []
    assert visible(mask, segment, 10) == [1]
    assert visible(mask, segment, 24) == [1, 2]
    assert visible(mask, segment, 25) == [2]
    assert visible(mask, segment, 30) == [2, 3]


def test_a_delete_does_not_touch_its_own_or_later_rows(make):
    segment = make([1, 1, 1], [10, 20, 30])
    mask = DeleteMask(segment)
    assert mask.apply(pa.array([1]), stamps(20)) == 1
    assert mask.visible(40)[1] == 2
    assert mask.visible(19)[1] == 1
    assert mask.visible(20)[1] == 1


def test_order_and_repetition_do_not_matter(make):
    segment = make([1, 2, 3, 4], [1, 1, 1, 1])
    one, other = DeleteMask(segment), DeleteMask(segment)
    one.apply(pa.array([1, 2, 1]), stamps(5, 7, 9))
    other.apply(pa.array([1]), stamps(9))
    other.apply(pa.array([2]), stamps(7))
    assert other.apply(pa.array([1, 2]), stamps(5, 7)) == 0
    for read_ts in range(12):
        assert visible(one, segment, read_ts) == visible(other, segment, read_ts)


def test_a_search_keeps_its_state_while_newer_deletes_arrive(make):
    segment = make([1, 2, 3], [1, 1, 1])
    mask = DeleteMask(segment)
    mask.apply(pa.array([1]), stamps(5))
    before, _ = mask.visible(6)
    kept = before.copy()
    mask.apply(pa.array([2]), stamps(7))
    assert before.tolist() == kept.tolist()
    assert visible(mask, segment, 6) == [2, 3]
    assert visible(mask, segment, 7) == [3]


def test_reads_at_the_end_compute_nothing(make, monkeypatch):
    segment = make(list(range(20)), [1] * 20)
    mask = DeleteMask(segment)
    for number in range(12):
        mask.apply(pa.array([number]), stamps(10 + number))
    monkeypatch.setattr(DeleteMask, "_compute", lambda *_: pytest.fail("computed"))
    assert mask.visible(21)[1] == 8
    assert mask.visible(1000)[1] == 8
    assert mask.visible(19)[1] == 10
    assert mask.visible(1000)[0] is mask.visible(2000)[0]


def test_text_keys(make, text_schema):
    segment = make(["a", "b", "ü"], [1, 2, 3], schema=text_schema)
    mask = DeleteMask(segment)
    assert mask.apply(pa.array(["ü", "c"]), stamps(9, 9)) == 1
    assert mask.visible(9)[1] == 2
