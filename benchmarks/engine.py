"""The engine inside a reader, without a network, beside the same Faiss index called directly.

Measures one query at a time in one thread, a batch of 1,000, and opening a sealed, indexed
segment. Ours and theirs take turns, so that other load on the machine meets both.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa

from benchmarks.datasets import Dataset, K, clustered
from benchmarks.table import row
from mishards.core.columns import arrow_schema
from mishards.core.ids import CollectionId, FieldId, PartitionId, SegmentId
from mishards.core.schema import CollectionSchema, DataType, FieldSchema, Metric
from mishards.index.protocol import VectorIndex
from mishards.index.registry import family
from mishards.metadata.models import SegmentMeta
from mishards.segments.read import Segment, open_segment
from mishards.segments.search import prepare_queries, search_segment
from mishards.segments.write import write_segment

EF = 32
BUILD = {"M": "16", "efConstruction": "100"}


def run(quick: bool) -> list[dict[str, Any]]:
    """Rows of the table."""
    data = clustered(10_000, queries=200) if quick else clustered()
    with tempfile.TemporaryDirectory(prefix="mishards-bench-") as name:
        return _Engine(data, Path(name)).rows(rounds=5 if quick else 15)


class _Engine:
    """A segment on disk with an index beside it."""

    def __init__(self, data: Dataset, folder: Path) -> None:
        data = data._replace(
            vectors=np.ascontiguousarray(data.vectors, dtype=np.float32),
            queries=np.ascontiguousarray(data.queries, dtype=np.float32),
        )
        self._data = data
        self._folder = folder / "segment"
        self._index_path = folder / "vector.index"
        self._schema = _schema(data.vectors.shape[1])
        self._meta = _write(data, self._folder, self._schema)
        family("HNSW").build(data.vectors, Metric.L2, BUILD, self._index_path, 2)

    def rows(self, rounds: int) -> list[dict[str, Any]]:
        segment, index = self._open()
        direct = faiss.read_index(str(self._index_path))
        return [
            self._single(segment, index, direct, rounds),
            self._batch(segment, index, direct, rounds),
            self._opening(rounds),
        ]

    def _open(self) -> tuple[Segment, VectorIndex]:
        segment = open_segment(self._folder, self._meta, self._schema)
        return segment, family("HNSW").open(self._index_path, Metric.L2)

    def _single(
        self, segment: Segment, index: VectorIndex, direct: Any, rounds: int
    ) -> dict[str, Any]:
        field = self._schema.by_name["vector"]
        queries = [self._data.queries[n : n + 1] for n in range(len(self._data.queries))]
        params = family("HNSW").check_search({"ef": EF}, K)
        settings = vars(faiss)["SearchParametersHNSW"](efSearch=EF)

        def ours() -> None:
            for query in queries:
                asked = prepare_queries(query, Metric.L2)
                search_segment(segment, field, Metric.L2, index, params, asked, K, None, 0)

        def theirs() -> None:
            for query in queries:
                direct.search(query, K, params=settings)

        faiss.omp_set_num_threads(1)
        mine, other = _turns(ours, theirs, rounds)
        return row(
            f"engine, {segment.rows:,} x 128, HNSW ef={EF}, nq=1, one thread",
            "faiss.Index.search",
            len(queries) / mine,
            len(queries) / other,
            at_least=0.7,
            note="queries per second",
        )

    def _batch(
        self, segment: Segment, index: VectorIndex, direct: Any, rounds: int
    ) -> dict[str, Any]:
        field = self._schema.by_name["vector"]
        queries = np.ascontiguousarray(self._data.queries)
        params = family("HNSW").check_search({"ef": EF}, K)
        settings = vars(faiss)["SearchParametersHNSW"](efSearch=EF)

        def ours() -> None:
            search_segment(segment, field, Metric.L2, index, params, queries, K, None, 0)

        def theirs() -> None:
            faiss.omp_set_num_threads(os.cpu_count())
            direct.search(queries, K, params=settings)

        mine, other = _turns(ours, theirs, rounds)
        return row(
            f"engine, the same, nq={len(queries)}, all threads",
            "faiss.Index.search",
            len(queries) / mine,
            len(queries) / other,
            at_least=0.7,
            note="queries per second",
        )

    def _opening(self, rounds: int) -> dict[str, Any]:
        def ours() -> None:
            self._open()

        def theirs() -> None:
            faiss.read_index(str(self._index_path))

        mine, other = _turns(ours, theirs, rounds)
        return row(
            f"open a sealed, indexed segment of {len(self._data.vectors):,} x 128",
            "faiss.read_index",
            mine * 1e3,
            other * 1e3,
            ratio=other / mine,
            at_most=20.0,
            note="ms",
        )


def _schema(dim: int) -> CollectionSchema:
    return CollectionSchema(
        name="bench",
        fields=(
            FieldSchema(id=FieldId(100), name="id", type=DataType.INT64, primary_key=True),
            FieldSchema(id=FieldId(101), name="vector", type=DataType.FLOAT_VECTOR, dim=dim),
        ),
    )


def _write(data: Dataset, folder: Path, schema: CollectionSchema) -> SegmentMeta:
    kinds = arrow_schema(schema)
    rows, _ = data.vectors.shape
    vectors = pa.FixedSizeListArray.from_arrays(
        pa.array(data.vectors.reshape(-1)), type=kinds.field("vector").type
    )
    batch = pa.RecordBatch.from_arrays([pa.array(np.arange(rows)), vectors], schema=kinds)
    return write_segment(
        folder,
        schema,
        batch,
        np.arange(1, rows + 1),
        segment_id=SegmentId(1),
        collection_id=CollectionId(1),
        partition_id=PartitionId(1),
    )


def _turns(
    ours: Callable[[], None], theirs: Callable[[], None], rounds: int
) -> tuple[float, float]:
    """Median seconds of each, taking turns; the first turn warms up."""
    took: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds + 1):
        for times, work in zip(took, (ours, theirs), strict=True):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
    return statistics.median(took[0][1:]), statistics.median(took[1][1:])
