"""A scan in pieces finds what a search without an index does."""

import numpy as np
import pytest

from mishards.core.schema import Metric
from mishards.segments import bitmaps
from mishards.segments.scan import scan_segment
from mishards.segments.search import prepare_queries, search_segment


def scanned(segment, field, metric, queries, k, allowed, numbers):
    """The answer, and in how many steps it was had."""
    scan = scan_segment(segment, field, metric, queries, k, allowed, numbers)
    steps = 0
    while True:
        try:
            next(scan)
        except StopIteration as done:
            return done.value, steps
        steps += 1


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("name", ["vector", "extra"])
@pytest.mark.parametrize("masked", ["all", "some", "none"])
@pytest.mark.parametrize("numbers", [1, 100, 10**9])
def test_pieces_make_the_whole(make, metric, name, masked, numbers):
    segment = make(list(range(40)))
    field = segment.schema.by_name[name]
    queries = prepare_queries(np.random.default_rng(1).normal(size=(2, field.dim)), metric)
    mask = {"all": np.ones(40, bool), "some": np.arange(40) % 3 == 1, "none": np.zeros(40, bool)}
    allowed = None if masked == "all" else bitmaps.pack(mask[masked])
    count = int(mask[masked].sum())
    expected = search_segment(
        segment, field, metric, None, {}, queries, 7, allowed, count, threads=1
    )
    (distances, offsets), steps = scanned(segment, field, metric, queries, 7, allowed, numbers)
    np.testing.assert_array_equal(offsets, expected[1])
    np.testing.assert_allclose(distances, expected[0], rtol=1e-5)
    visible = int((mask[masked] & (np.arange(40) % 4 != 3)).sum()) if name == "extra" else count
    per_step = max(1, numbers // (2 * field.dim))
    assert steps == -(-visible // per_step)
