"""Exact search and normalization equal plain numpy, at every size of block and batch."""

import numpy as np
import pytest

from mishards.core.schema import Metric
from mishards.index import exact
from mishards.index.distance import inverse_norms, normalize, prepare_queries


def reference(vectors, queries, k, metric, rows):
    chosen = vectors[rows].astype(np.float64)
    if metric is Metric.L2:
        scores = ((queries[:, np.newaxis].astype(np.float64) - chosen) ** 2).sum(-1)
        order = np.argsort(scores, axis=1)[:, :k]
    else:
        if metric is Metric.COSINE:
            chosen = chosen / np.linalg.norm(chosen, axis=1, keepdims=True)
        scores = queries.astype(np.float64) @ chosen.T
        order = np.argsort(-scores, axis=1)[:, :k]
    return np.take_along_axis(scores, order, axis=1), rows[order]


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("nq", [1, 3, 40])
@pytest.mark.parametrize("picked", [None, 1, 30, 600])
@pytest.mark.parametrize("k", [1, 10, 700])
def test_equals_numpy(metric, nq, picked, k, monkeypatch):
    monkeypatch.setattr(exact, "_BLOCK_BYTES", 4 * 8 * 64)
    monkeypatch.setattr(exact, "_HELD_HITS", 200)
    monkeypatch.setattr(exact, "_MERGED_WIDTH", 20)
    chance = np.random.default_rng(nq + k)
    vectors = chance.normal(size=(1000, 8)).astype(np.float32)
    queries = prepare_queries(chance.normal(size=(nq, 8)).astype(np.float32), metric)
    rows = None if picked is None else np.sort(chance.choice(1000, picked, replace=False))
    scales = inverse_norms(vectors) if metric is Metric.COSINE else None
    distances, offsets = exact.nearest(vectors, queries, k, metric, rows=rows, scales=scales)
    everything = np.arange(1000) if rows is None else rows
    wanted_distances, wanted = reference(vectors, queries, k, metric, everything)
    found = wanted.shape[1]
    assert distances.shape == offsets.shape == (nq, k)
    # Rounding may swap neighbours that are all but equally far.
    assert np.mean(offsets[:, :found] == wanted) > 0.99
    assert all(len(set(row)) == found for row in offsets[:, :found].tolist())
    np.testing.assert_allclose(distances[:, :found], wanted_distances, rtol=1e-4, atol=1e-5)
    assert (offsets[:, found:] == -1).all()


@pytest.mark.parametrize("nq", [1, 40])
@pytest.mark.parametrize("scaled", [True, False])
def test_no_allowed_row_gives_padding(nq, scaled):
    vectors = np.ones((5, 4), dtype=np.float32)
    _, offsets = exact.nearest(
        vectors,
        np.ones((nq, 4), dtype=np.float32),
        3,
        Metric.COSINE,
        rows=np.empty(0, dtype=np.int64),
        scales=np.ones(5, dtype=np.float32) if scaled else None,
    )
    assert offsets.tolist() == [[-1, -1, -1]] * nq


def test_normalize_keeps_zero_rows_and_makes_the_others_of_length_one():
    vectors = np.array([[0, 0], [3, 4], [1e-20, 0], [1e18, 1e18]], dtype=np.float32)
    lengths = np.linalg.norm(normalize(vectors).astype(np.float64), axis=1)
    np.testing.assert_allclose(lengths, [0, 1, 1, 1], rtol=1e-5)
    np.testing.assert_array_equal(vectors[1], [3, 4])


def test_queries_are_normalized_for_cosine_only():
    queries = np.array([[3, 4]], dtype=np.float64)
    assert prepare_queries(queries, Metric.L2).tolist() == [[3, 4]]
    np.testing.assert_allclose(prepare_queries(queries, Metric.COSINE), [[0.6, 0.8]], rtol=1e-6)
    assert prepare_queries(queries, Metric.IP).dtype == np.float32
