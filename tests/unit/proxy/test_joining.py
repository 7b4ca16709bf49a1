"""Taking a joint answer apart: columns and textual keys too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from mishards.core.ids import Timestamp
from mishards.core.schema import Metric
from mishards.proxy.calls import SearchAnswer, SearchCall
from mishards.proxy.joining import FEW_QUERIES, grouped, joined, may_join, shares


def call(nq: int, *, dim: int = 4, shape: bytes = b"s") -> SearchCall:
    vectors = np.full((nq, dim), nq, np.float32)
    return SearchCall(
        database="", collection="c", queries=vectors.tobytes(), nq=nq, limit=3, shape=shape
    )


def test_calls_of_no_or_another_shape_or_length_do_not_join() -> None:
    assert may_join(call(1), call(3))
    assert not may_join(call(1), call(1, shape=b"t"))
    assert not may_join(call(1, shape=b""), call(1, shape=b""))
    assert not may_join(call(1), call(1, dim=8))


def test_calls_go_together_in_order_until_they_are_large() -> None:
    one, other = call(1), call(1, shape=b"t")
    assert grouped([one, other, one, other, one]) == [[0, 2, 4], [1, 3]]
    half = call(FEW_QUERIES // 2)
    assert grouped([half, one, half, half]) == [[0, 1], [2, 3]]
    large = call(FEW_QUERIES + 1)
    assert grouped([large, large, one]) == [[0], [1], [2]]
    assert grouped([]) == []


@given(st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=3), min_size=1, max_size=5))
def test_each_call_gets_its_hits_in_order(counts: list[list[int]]) -> None:
    calls = [call(len(own)) for own in counts]
    flat = [count for own in counts for count in own]
    hits = sum(flat)
    answer = SearchAnswer(
        view=None,  # type: ignore[arg-type]
        metric=Metric.L2,
        counts=np.array(flat, np.int32),
        keys=[str(i) for i in range(hits)],
        distances=np.arange(hits, dtype=np.float32),
        columns=pa.RecordBatch.from_pydict({"n": list(range(hits))}),
        output=("n",),
        read_ts=Timestamp(1),
    )
    assert joined(calls).nq == len(flat)
    first = 0
    for own, share in zip(counts, shares(answer, calls), strict=True):
        numbers = list(range(first, first + sum(own)))
        assert share.counts.tolist() == own
        assert share.keys == [str(n) for n in numbers]
        assert share.distances.tolist() == numbers
        columns: Any = share.columns
        assert columns.column("n").to_pylist() == numbers
        first += sum(own)
