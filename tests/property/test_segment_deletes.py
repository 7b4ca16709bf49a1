"""Visibility in a segment equals the definition, for any rows, deletes, order and read time."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from mishards.core.ids import Timestamp
from mishards.segments import bitmaps
from mishards.segments.deletes import DeleteMask
from mishards.segments.keys import find_integers, find_texts

ROWS = st.lists(st.tuples(st.integers(0, 6), st.integers(1, 12)), min_size=1, max_size=24)
BATCHES = st.lists(
    st.lists(st.tuples(st.integers(0, 7), st.integers(1, 12)), max_size=4), max_size=16
)


@given(rows=ROWS, batches=BATCHES, interleaved=st.booleans())
def test_visible_equals_the_definition(rows, batches, interleaved):
    rows = sorted(rows)
    keys = np.array([key for key, _ in rows], dtype=np.int64)
    timestamps = np.array([timestamp for _, timestamp in rows], dtype=np.int64)
    segment = SimpleNamespace(
        rows=len(rows),
        timestamps=timestamps,
        meta=SimpleNamespace(max_ts=Timestamp(int(timestamps.max()))),
        find=lambda wanted: find_integers(keys, wanted.to_numpy()),
    )
    mask = DeleteMask(segment)
    applied: list[tuple[int, int]] = []
    for batch in batches:
        applied += batch
        mask.apply(
            pa.array([key for key, _ in batch], pa.int64()),
            np.array([timestamp for _, timestamp in batch], dtype=np.int64),
        )
        if interleaved:
            check(mask, rows, applied)
    check(mask, rows, applied)


def check(mask, rows, applied):
    for read_ts in range(14):
        expected = [
            timestamp <= read_ts
            and not any(k == key and timestamp < t <= read_ts for k, t in applied)
            for key, timestamp in rows
        ]
        bitmap, count = mask.visible(read_ts)
        assert count == sum(expected)
        if bitmap is None:
            assert all(expected)
        else:
            assert bitmaps.unpack(bitmap, len(rows)).tolist() == expected
            assert bitmaps.count(bitmap) == count


@given(
    column=st.lists(st.text(max_size=3), max_size=80),
    keys=st.lists(st.text(max_size=3), max_size=6),
    repeat=st.sampled_from([1, 40]),
)
def test_text_look_up_equals_comparing_all(column, keys, repeat):
    column = sorted(column, key=str.encode)
    keys = keys * repeat
    positions, offsets = find_texts(pa.array(column, pa.string()), pa.array(keys, pa.string()))
    expected = [
        (position, row)
        for position, key in enumerate(keys)
        for row, stored in enumerate(column)
        if stored == key
    ]
    assert list(zip(positions.tolist(), offsets.tolist(), strict=True)) == expected
