"""Segment search under random masks, deletes, null vectors and shapes equals numpy."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from mishards.core.columns import arrow_schema
from mishards.core.ids import CollectionId, FieldId, PartitionId, SegmentId
from mishards.core.schema import CollectionSchema, DataType, FieldSchema, Metric
from mishards.index.registry import family
from mishards.segments import bitmaps
from mishards.segments.deletes import DeleteMask
from mishards.segments.read import open_segment
from mishards.segments.search import prepare_queries, search_segment
from mishards.segments.write import write_segment

DIM = 3
VECTOR = FieldSchema(id=FieldId(101), name="v", type=DataType.FLOAT_VECTOR, dim=DIM, nullable=True)
SCHEMA = CollectionSchema(
    name="c",
    fields=(
        FieldSchema(id=FieldId(100), name="id", type=DataType.INT64, primary_key=True),
        VECTOR,
    ),
)


class Eager:
    """An exhaustive index that claims to cost nothing, so that it is always asked."""

    def __init__(self, vectors, metric, path):
        kind = family("IVF_FLAT")
        kind.build(vectors, metric, kind.check_build({"nlist": 2}, DIM), path, 1)
        self._index = kind.open(path, metric)
        self.search = self._index.search

    def work(self, k, params, allowed_count):
        return -1.0


def open_rows(folder, keys, vectors, valid, timestamps):
    lists = [row.tolist() if ok else None for row, ok in zip(vectors, valid, strict=True)]
    kinds = arrow_schema(SCHEMA)
    batch = pa.RecordBatch.from_arrays(
        [pa.array(keys, pa.int64()), pa.array(lists, kinds.field("v").type)], schema=kinds
    )
    meta = write_segment(
        folder,
        SCHEMA,
        batch,
        timestamps,
        segment_id=SegmentId(1),
        collection_id=CollectionId(1),
        partition_id=PartitionId(1),
    )
    return open_segment(folder, meta, SCHEMA)


def scores_of(vectors, query, metric):
    """Smaller is better, whatever the metric."""
    vectors, query = vectors.astype(np.float64), query.astype(np.float64)
    if metric is Metric.L2:
        return ((vectors - query) ** 2).sum(1)
    if metric is Metric.COSINE:
        lengths = np.linalg.norm(vectors, axis=1)
        vectors = vectors / np.where(lengths > 0, lengths, 1)[:, np.newaxis]
    return -(vectors @ query)


@settings(max_examples=60)
@given(
    rows=st.integers(1, 120),
    nq=st.sampled_from([1, 2, 20]),
    k=st.integers(1, 130),
    metric=st.sampled_from(list(Metric)),
    indexed=st.booleans(),
    allowed_share=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    null_share=st.sampled_from([0.0, 0.3, 1.0]),
    deletes=st.lists(st.tuples(st.integers(0, 60), st.integers(1, 30)), max_size=20),
    read_ts=st.integers(0, 35),
    seed=st.integers(0, 2**32 - 1),
)
def test_search_equals_brute_force(
    rows, nq, k, metric, indexed, allowed_share, null_share, deletes, read_ts, seed
):
    chance = np.random.default_rng(seed)
    # Small integers give ties and zero vectors; both must be handled.
    vectors = chance.integers(-3, 4, size=(rows, DIM)).astype(np.float32)
    keys = chance.integers(0, 60, rows)
    timestamps = chance.integers(1, 30, rows)
    with TemporaryDirectory() as name:
        folder = Path(name) / "segment"
        valid = chance.random(rows) >= null_share
        segment = open_rows(folder, keys, vectors, valid, timestamps)
        mask = DeleteMask(segment)
        for key, timestamp in deletes:
            mask.apply(pa.array([key], pa.int64()), np.array([timestamp], dtype=np.int64))
        visible, _ = mask.visible(read_ts)
        matching = chance.random(rows) < allowed_share
        allowed = bitmaps.intersect(visible, bitmaps.pack(matching))
        assert allowed is not None
        index = None
        if indexed:
            index = Eager(segment.vectors("v"), metric, Path(name) / "index")
        queries = prepare_queries(chance.integers(-3, 4, size=(nq, DIM)), metric)
        distances, offsets = search_segment(
            segment,
            VECTOR,
            metric,
            index,
            {"nprobe": 2},
            queries,
            k,
            allowed,
            bitmaps.count(allowed),
        )
        sorted_valid = segment.validity("v")
        live = bitmaps.unpack(allowed, rows) & sorted_valid
        assert offsets.shape == distances.shape == (nq, k)
        for number in range(nq):
            hits = offsets[number][offsets[number] >= 0]
            found = len(hits)
            assert found == min(k, int(live.sum()))
            assert (offsets[number, found:] == -1).all()
            assert len(set(hits.tolist())) == found
            assert live[hits].all()
            scores = scores_of(segment.vectors("v"), queries[number], metric)
            best = np.sort(scores[live])[:found]
            np.testing.assert_allclose(scores[hits], best, rtol=1e-4, atol=1e-4)
            shown = distances[number, :found]
            signed = shown if metric is Metric.L2 else -shown
            np.testing.assert_allclose(signed, best, rtol=1e-4, atol=1e-4)
