"""Small segments to test with."""

import numpy as np
import pyarrow as pa
import pytest

from mishards.core.columns import arrow_schema
from mishards.core.ids import CollectionId, FieldId, PartitionId, SegmentId
from mishards.core.schema import CollectionSchema, DataType, FieldSchema
from mishards.segments.read import open_segment
from mishards.segments.write import write_segment

DIM = 4


def make_schema(key: DataType = DataType.INT64, dim: int = DIM) -> CollectionSchema:
    def field(number, name, kind, **more):
        return FieldSchema(id=FieldId(number), name=name, type=kind, **more)

    return CollectionSchema(
        name="things",
        fields=(
            field(100, "id", key, primary_key=True, max_length=64),
            field(101, "vector", DataType.FLOAT_VECTOR, dim=dim),
            field(102, "color", DataType.VARCHAR, max_length=1000, nullable=True),
            field(103, "price", DataType.DOUBLE, nullable=True),
            field(104, "tags", DataType.ARRAY, element_type=DataType.INT32, max_capacity=9),
            field(105, "extra", DataType.FLOAT_VECTOR, dim=2, nullable=True),
            field(106, "$meta", DataType.JSON, dynamic=True),
        ),
        dynamic=True,
    )


def make_rows(schema: CollectionSchema, keys: list, seed: int = 0) -> pa.RecordBatch:
    """Rows whose every third color is null, every fourth extra vector too."""
    rows = len(keys)
    chance = np.random.default_rng(seed)
    vectors = chance.normal(size=(rows, schema.by_name["vector"].dim)).astype(np.float32)
    extra = [None if n % 4 == 3 else [float(n), 1.0] for n in range(rows)]
    columns = {
        "id": keys,
        "vector": vectors.tolist(),
        "color": [None if n % 3 == 2 else f"color {n}" for n in range(rows)],
        "price": chance.uniform(0, 100, rows).tolist(),
        "tags": [list(range(n % 4)) for n in range(rows)],
        "extra": extra,
        "$meta": [b'{"n":%d}' % n for n in range(rows)],
    }
    kinds = arrow_schema(schema)
    return pa.RecordBatch.from_arrays(
        [pa.array(columns[kind.name], kind.type) for kind in kinds], schema=kinds
    )


@pytest.fixture
def schema():
    return make_schema()


@pytest.fixture
def write(tmp_path):
    """Write rows as a segment: `write(batch, timestamps, schema) -> (folder, meta)`."""

    def run(batch, timestamps, schema, name="segment"):
        folder = tmp_path / name
        meta = write_segment(
            folder,
            schema,
            batch,
            np.asarray(timestamps, dtype=np.int64),
            segment_id=SegmentId(7),
            collection_id=CollectionId(3),
            partition_id=PartitionId(5),
        )
        return folder, meta

    return run


@pytest.fixture
def make(write, schema):
    """An open segment of rows with these keys: `make(keys, timestamps, schema)`."""

    def run(keys, timestamps=None, schema=schema, seed=0):
        stamps = range(1, len(keys) + 1) if timestamps is None else timestamps
        batch = make_rows(schema, keys, seed)
        folder, meta = write(batch, list(stamps), schema, name=f"s{seed}-{len(keys)}")
        return open_segment(folder, meta, schema)

    return run


@pytest.fixture
def text_schema():
    return make_schema(DataType.VARCHAR)


@pytest.fixture
def rows_of():
    return make_rows
