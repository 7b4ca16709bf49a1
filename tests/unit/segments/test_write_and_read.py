"""What is written is read back: order, columns, vectors, nulls, statistics, look-up."""

import numpy as np
import pyarrow as pa
import pytest

from mishards.core.errors import FieldNotFound
from mishards.metadata.models import ColumnStatistics
from mishards.segments.layout import MANIFEST, segment_files
from mishards.segments.read import open_segment


def test_rows_come_back_sorted_by_key_and_whole(schema, write, rows_of):
    batch = rows_of(schema, [30, 10, 20, 40, 0])
    folder, meta = write(batch, [5, 4, 3, 2, 1], schema)
    segment = open_segment(folder, meta, schema)
    order = np.array([4, 1, 2, 0, 3])
    assert segment.rows == meta.rows == 5
    assert segment.keys.tolist() == [0, 10, 20, 30, 40]
    assert segment.timestamps.tolist() == [1, 4, 3, 5, 2]
    names = [field.name for field in schema.fields]
    taken = segment.take(names, np.arange(5))
    for name in names:
        expected = batch.column(name).take(pa.array(order))
        assert segment.column(name).to_pylist() == expected.to_pylist(), name
        assert segment.column(name).type == expected.type
        assert taken.column(name).to_pylist() == expected.to_pylist()
    assert (meta.min_ts, meta.max_ts) == (1, 5)


def test_a_table_of_many_chunks_is_accepted(schema, write, rows_of):
    table = pa.Table.from_batches([rows_of(schema, [2, 3]), rows_of(schema, [0, 1], seed=1)])
    folder, meta = write(table, [1, 2, 3, 4], schema)
    segment = open_segment(folder, meta, schema)
    assert segment.keys.tolist() == [0, 1, 2, 3]
    assert isinstance(segment.column("color"), pa.Array)
    assert isinstance(segment.column("color"), pa.StringArray)


def test_vectors_are_mapped_read_only_and_null_ones_are_marked(make):
    segment = make(list(range(9)))
    assert segment.vectors("vector").shape == (9, 4)
    assert segment.vectors("vector").dtype == np.float32
    assert not segment.vectors("vector").flags.writeable
    assert segment.validity("vector") is None
    assert segment.valid_bitmap("vector") is None
    valid = segment.validity("extra")
    assert valid.tolist() == [n % 4 != 3 for n in range(9)]
    assert (segment.vectors("extra")[~valid] == 0).all()
    assert np.unpackbits(segment.valid_bitmap("extra"), bitorder="little")[:9].tolist() == [
        *valid.astype(int)
    ]


def test_take_gives_the_rows_asked_for_in_their_order(make):
    segment = make([5, 6, 7, 8])
    taken = segment.take(["extra", "$ts", "id"], np.array([3, 0, 0]))
    assert taken.schema.names == ["extra", "$ts", "id"]
    assert taken.column("id").to_pylist() == [8, 5, 5]
    assert taken.column("extra").to_pylist() == [None, [0.0, 1.0], [0.0, 1.0]]
    assert segment.take_keys(np.array([2, 1])).tolist() == [7, 6]


def test_an_unknown_column_is_named(make):
    segment = make([1])
    with pytest.raises(FieldNotFound, match="'nothing'"):
        segment.column("nothing")
    with pytest.raises(FieldNotFound, match="'color'"):
        segment.vectors("color")


def test_find_gives_every_row_of_each_key(make):
    segment = make([5, 1, 5, 9])
    positions, offsets = segment.find(pa.array([9, 4, 5, 5, 100, -7]))
    assert positions.tolist() == [0, 2, 2, 3, 3]
    assert offsets.tolist() == [3, 1, 2, 1, 2]
    assert segment.find(pa.array([], pa.int64()))[0].tolist() == []


@pytest.mark.parametrize("wanted", [1, 200])
def test_find_by_text_both_ways(make, text_schema, wanted):
    keys = [f"k{n:03}" for n in range(150)] + ["k007", "é", "", "z"]
    segment = make(keys, schema=text_schema)
    asked = (["k007", "nothing", "é", "", "k149", "zz"] * wanted)[: 6 * wanted]
    positions, offsets = segment.find(pa.array(asked))
    everything = segment.keys.to_pylist()
    expected = [(p, o) for p, key in enumerate(asked) for o in range(154) if everything[o] == key]
    assert list(zip(positions.tolist(), offsets.tolist(), strict=True)) == expected
    assert everything == sorted(keys, key=str.encode)
    assert segment.take_keys(offsets[:2]).to_pylist() == ["k007", "k007"]


def test_statistics_bound_the_columns(schema, write, rows_of):
    batch = rows_of(schema, [30, 10, 20])
    folder, meta = write(batch, [1, 2, 3], schema)
    found = meta.statistics
    assert found["id"] == ColumnStatistics(low=10, high=30)
    assert found["color"] == ColumnStatistics(low="color 0", high="color 1", nulls=1)
    assert found["price"].low == min(batch.column("price").to_pylist())
    assert not {"tags", "$meta", "vector"} & set(found)
    assert meta.size_bytes == sum(path.stat().st_size for path in folder.iterdir())


def test_statistics_leave_out_what_they_cannot_bound(schema, write, rows_of):
    batch = rows_of(schema, [1, 2, 3])
    columns = {name: batch.column(name) for name in batch.schema.names}
    columns["price"] = pa.array([1.0, float("inf"), 2.0])
    columns["color"] = pa.array(["a", "b" * 400, None])
    _, meta = write(pa.table(columns), [1, 2, 3], schema)
    assert "price" not in meta.statistics
    assert "color" not in meta.statistics
    columns["color"] = pa.array([None] * 3, pa.string())
    _, meta = write(pa.table(columns), [1, 2, 3], schema, name="other")
    assert meta.statistics["color"] == ColumnStatistics(nulls=3)


def test_the_manifest_is_the_last_of_its_files(schema, write, rows_of):
    folder, _ = write(rows_of(schema, [1]), [1], schema)
    names = [path.name for path in segment_files(folder)]
    assert names == ["101.vectors", "105.vectors", "columns.arrow", MANIFEST]
