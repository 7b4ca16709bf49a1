"""The recall of answers, and which searches the guard takes."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from mishards.core.runtime import SystemRuntime
from mishards.proxy.config import RecallConfig
from mishards.proxy.merge import Hits
from mishards.proxy.recall import exact_k, first_queries, recalls
from mishards.proxy.recall_guard import RecallGuard

Pairs = list[tuple[Any, float]]


def hits(*queries: Pairs) -> Hits:
    flat = [pair for query in queries for pair in query]
    keys = [key for key, _ in flat]
    numbers = np.zeros(len(flat), np.int64)
    return Hits(
        counts=np.array([len(query) for query in queries], np.int32),
        keys=keys if keys and isinstance(keys[0], str) else np.array(keys, np.int64),
        distances=np.array([distance for _, distance in flat], np.float32),
        units=numbers,
        offsets=numbers,
        columns=None,
    )


def recall(found: Pairs, exact: Pairs, k: int, *, smaller: bool = True) -> float:
    (answer,) = recalls(hits(found), hits(exact), k, smaller_is_closer=smaller)
    return answer


TRUE = [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0)]


def test_the_share_of_true_neighbours_counts() -> None:
    assert recall(TRUE[:2], TRUE, 2) == 1.0
    assert recall([(1, 1.0), (3, 3.0)], TRUE, 2) == 0.5
    assert recall([(3, 3.0), (4, 4.0)], TRUE, 2) == 0.0
    assert recall([(1, 1.0)], TRUE, 2) == 0.5
    assert recall([("b", 0.5)], [("a", 0.9), ("b", 0.5)], 1, smaller=False) == 0.0
    assert recall([("a", 0.9)], [("a", 0.9), ("b", 0.5)], 1, smaller=False) == 1.0


def test_rows_as_far_as_the_last_one_are_as_good() -> None:
    tied = [(1, 1.0), (2, 2.0), (3, 2.0), (4, 5.0)]
    assert recall([(1, 1.0), (3, 2.0)], tied, 2) == 1.0
    assert recall([(2, 2.0), (3, 2.0)], tied, 2) == 1.0
    close = [(1, 1.0), (2, 2.0), (3, 2.000001), (4, 5.0)]
    assert recall([(1, 1.0), (3, 2.000001)], close, 2) == 1.0


def test_ties_that_go_on_beyond_what_was_asked_for_count_by_distance() -> None:
    same = [(key, 2.0) for key in range(1, 5)]
    assert recall([(8, 2.0), (9, 2.0)], same, 2) == 1.0
    assert recall([(8, 2.0), (9, 3.0)], same, 2) == 0.5
    far = [(key, -2.0) for key in range(1, 5)]
    assert recall([(8, -2.0), (9, -3.0)], far, 2, smaller=False) == 0.5


def test_a_lossy_distance_proves_nothing() -> None:
    """An index may think a row nearer than it is."""
    assert recall([(1, 1.0), (9, 0.1)], TRUE, 2) == 0.5


def test_fewer_rows_than_asked_for_can_all_be_found() -> None:
    assert recall([(1, 1.0), (2, 2.0)], TRUE[:2], 10) == 1.0
    assert recall([(1, 1.0)], TRUE[:2], 10) == 0.5
    assert recalls(hits([]), hits([]), 5, smaller_is_closer=True) == []


def test_each_query_counts_for_itself() -> None:
    found = hits([(1, 1.0)], [], [(7, 9.0)])
    exact = hits(TRUE, [], [(6, 1.0), (7, 9.0)])
    assert recalls(found, exact, 1, smaller_is_closer=True) == [1.0, 0.0]
    cut = first_queries(found, 2)
    assert (cut.counts.tolist(), cut.distances.tolist()) == ([1, 0], [1.0])


def test_more_is_asked_for_than_was_to_be_found() -> None:
    assert exact_k(10, 100) == 30
    assert exact_k(90, 100) == 100
    assert exact_k(100, 100) == 100


@pytest.mark.parametrize("share", [0.01, 0.1, 1.0])
def test_the_share_is_kept_to(share: float) -> None:
    async def main() -> int:
        runtime = SystemRuntime(seed=1)
        guard = RecallGuard(runtime, RecallConfig(share=share), None)  # type: ignore[arg-type]
        assert not guard.due()
        runtime.spawn(guard.run(), "guard")
        await asyncio.sleep(0)
        taken = sum(guard.due() for _ in range(10_000))
        await runtime.close()
        return taken

    assert asyncio.run(main()) == pytest.approx(10_000 * share, rel=0.2)
