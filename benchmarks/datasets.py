"""What is measured on: clustered synthetic vectors with a fixed seed, and real embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import faiss
import numpy as np
import pyarrow.parquet as pq

K = 10
_INNER_DIM = 24
_SPREAD = 0.75
_ROOT = Path(__file__).resolve().parents[1]


class Dataset(NamedTuple):
    """Rows, queries, and per query the `K` true neighbours under `metric`.

    `months` and `filtered_truth` exist where the data carry months: the neighbours among rows
    with `month >= MONTH`.
    """

    name: str
    metric: str
    vectors: np.ndarray[Any, np.dtype[np.float32]]
    queries: np.ndarray[Any, np.dtype[np.float32]]
    truth: np.ndarray[Any, np.dtype[np.int64]]
    months: list[str] | None = None
    filtered_truth: np.ndarray[Any, np.dtype[np.int64]] | None = None


MONTH = "2025-01"


def clustered(rows: int = 100_000, dim: int = 128, queries: int = 1_000) -> Dataset:
    """Overlapping Gaussian clusters of about 100 rows, in a 24-dimensional subspace."""
    rng = np.random.default_rng(20_200_301)
    basis = rng.standard_normal((_INNER_DIM, dim)).astype(np.float32) / np.sqrt(_INNER_DIM)
    centers = rng.standard_normal((rows // 100, _INNER_DIM)).astype(np.float32)
    member = rng.integers(0, len(centers), rows + queries)
    noise = _SPREAD * rng.standard_normal((rows + queries, _INNER_DIM)).astype(np.float32)
    points = ((centers[member] + noise) @ basis).astype(np.float32)
    vectors, asked = points[:rows], points[rows:]
    _, truth = faiss.knn(asked, vectors, K)
    return Dataset("clustered", "L2", vectors, asked, truth)


def packages(limit: int | None = None) -> Dataset:
    """Real sentence embeddings: 60,000 where the large file is at hand, else the demo's 6,000."""
    large = _ROOT.parent / "shared" / "data"
    small = _ROOT / "examples" / "data"
    folder, names = (
        (large, ("packages-60k.parquet", "packages-queries.parquet"))
        if large.is_dir()
        else (small, ("packages.parquet", "queries.parquet"))
    )
    rows = pq.read_table(folder / names[0], columns=["month", "embedding"])
    vectors = _embeddings(rows)[:limit]
    months = rows.column("month").to_pylist()[:limit]
    asked = _embeddings(pq.read_table(folder / names[1], columns=["embedding"]))
    recent = np.flatnonzero(np.array([month >= MONTH for month in months]))
    _, within = faiss.knn(_unit(asked), _unit(vectors[recent]), K, faiss.METRIC_INNER_PRODUCT)
    _, truth = faiss.knn(_unit(asked), _unit(vectors), K, faiss.METRIC_INNER_PRODUCT)
    return Dataset("packages", "COSINE", vectors, asked, truth, months, recent[within])


def _embeddings(table: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    flat = table.column("embedding").combine_chunks().values.to_numpy()
    return flat.astype(np.float32).reshape(table.num_rows, -1)


def _unit(vectors: np.ndarray[Any, np.dtype[np.float32]]) -> Any:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def recall(found: list[list[int]], truth: np.ndarray[Any, np.dtype[np.int64]]) -> float:
    """Mean share of the true neighbours that were found."""
    shares = [len(set(f) & set(t.tolist())) / len(t) for f, t in zip(found, truth, strict=False)]
    return float(np.mean(shares))
