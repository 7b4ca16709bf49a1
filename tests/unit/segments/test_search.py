"""Searching a segment: by index or raw, filtered, nullable, few and many queries."""

import numpy as np
import pytest

from mishards.core.schema import Metric
from mishards.index.registry import family
from mishards.segments import bitmaps, search
from mishards.segments.search import prepare_queries, search_segment


class Index:
    """An index that records how it was asked, and finds nothing."""

    def __init__(self, work: float = 0.0):
        self.asked = []
        self._work = work

    def work(self, k, params, allowed_count):
        return self._work

    def search(self, queries, k, params, allowed, allowed_count, threads=1):
        self.asked.append((allowed is None, allowed_count, threads))
        shape = (len(queries), k)
        return np.zeros(shape, dtype=np.float32), np.full(shape, -1, dtype=np.int64)


@pytest.fixture
def segment(make):
    return make(list(range(40)))


def run(segment, *, field="vector", index=None, nq=1, k=3, mask=None, metric=Metric.L2, **more):
    chosen = segment.schema.by_name[field]
    queries = prepare_queries(np.ones((nq, chosen.dim), dtype=np.float32), metric)
    allowed = None if mask is None else bitmaps.pack(mask)
    count = 0 if mask is None else int(mask.sum())
    return search_segment(
        segment, chosen, metric, index, {"ef": 8}, queries, k, allowed, count, **more
    )


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("nq", [1, 30])
def test_raw_vectors_are_searched_without_an_index(segment, metric, nq):
    distances, offsets = run(segment, metric=metric, nq=nq, k=50)
    assert sorted(offsets[0, :40]) == list(range(40))
    assert (offsets[:, 40:] == -1).all()
    vectors = segment.vectors("vector")
    if metric is Metric.L2:
        expected = ((vectors - 1) ** 2).sum(1)
    elif metric is Metric.IP:
        expected = vectors.sum(1)
    else:
        expected = vectors.sum(1) / 2 / np.linalg.norm(vectors, axis=1)
    np.testing.assert_allclose(distances[0, :40], expected[offsets[0, :40]], rtol=1e-4, atol=1e-5)


def test_a_cheap_index_is_asked_and_a_dear_one_is_not(segment):
    cheap, dear = Index(), Index(work=1e9)
    run(segment, index=cheap)
    _, offsets = run(segment, index=dear)
    assert cheap.asked == [(True, 0, 1)]
    assert dear.asked == []
    assert (offsets >= 0).all()


def test_a_filter_that_lets_all_pass_is_none(segment):
    index = Index()
    run(segment, index=index, mask=np.ones(40, dtype=bool))
    assert index.asked == [(True, 0, 1)]


def test_what_an_index_misses_under_a_filter_is_searched_raw(segment):
    index = Index()
    mask = np.arange(40) % 2 == 0
    _, offsets = run(segment, index=index, mask=mask, nq=2, k=30)
    assert index.asked == [(False, 20, 1)]
    assert sorted(offsets[1, :20]) == list(range(0, 40, 2))
    assert (offsets[:, 20:] == -1).all()


def test_nothing_allowed_gives_no_hit(segment):
    _, offsets = run(segment, index=Index(), mask=np.zeros(40, dtype=bool))
    assert (offsets == -1).all()


@pytest.mark.parametrize("masked", [False, True])
def test_rows_with_null_vectors_are_never_hit(segment, masked):
    mask = np.arange(40) < 20 if masked else None
    _, offsets = run(segment, field="extra", k=40, mask=mask)
    hits = offsets[offsets >= 0]
    assert (hits % 4 != 3).all()
    assert len(hits) == (15 if masked else 30)


def test_many_queries_take_the_threads_and_few_do_not(segment):
    index = Index()
    run(segment, index=index, nq=search._PARALLEL_QUERIES, threads=3)
    run(segment, index=index, nq=search._PARALLEL_QUERIES - 1, threads=3)
    assert [threads for _, _, threads in index.asked] == [3, 1]


@pytest.mark.parametrize("metric", list(Metric))
def test_hnsw_over_a_segment_equals_brute_force(make, metric, tmp_path):
    segment = make(list(range(3000)))
    hnsw = family("HNSW")
    path = tmp_path / "i.index"
    hnsw.build(segment.vectors("vector"), metric, hnsw.check_build({}, 4), path, 1)
    index = hnsw.open(path, metric)
    mask = np.random.default_rng(0).random(3000) < 0.9
    field = segment.schema.by_name["vector"]
    queries = prepare_queries(np.random.default_rng(1).normal(size=(20, 4)), metric)
    arguments = (queries, 10, bitmaps.pack(mask), int(mask.sum()))
    assert index.work(10, {"ef": 64}, arguments[3]) < arguments[3]
    _, found = search_segment(segment, field, metric, index, {"ef": 64}, *arguments)
    _, exact = search_segment(segment, field, metric, None, {}, *arguments)
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, exact, strict=True)]) > 0.98
