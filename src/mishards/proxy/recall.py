"""How much of what was to be found an answer has: pure functions on hits.

Invariant: rows that are equally far are equally good, whichever of them the answer has.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mishards.proxy.merge import Hits

_SAME = 1e-5
"""Distances that differ by this share of them are one: sums of float32 differ by their order."""


def exact_k(k: int, most: int) -> int:
    """How many exact hits are to be asked for, to see rows that are as far as the k-th."""
    return max(k, min(2 * k + 10, most))


def recalls(found: Hits, exact: Hits, k: int, *, smaller_is_closer: bool) -> list[float]:
    """Per query the share of the best `k` that `found` has, 0 to 1.

    Queries with nothing to be found are left out.

    Args:
        exact: at least as many hits of the same queries; see `exact_k`.
    """
    answers = []
    pairs = zip(_per_query(found), _per_query(exact), strict=True)
    for (keys, distances), (true_keys, true_distances) in pairs:
        if not true_keys:
            continue
        sign = 1.0 if smaller_is_closer else -1.0
        true_scores = [sign * distance for distance in true_distances]
        wanted = min(k, len(true_keys))
        last = true_scores[wanted - 1]
        bound = last + _SAME * abs(last)
        good = {key for key, score in zip(true_keys, true_scores, strict=True) if score <= bound}
        # Where all of them are as good, there may be more that were not asked for; then the
        # answer's own distances have to do, though those of a lossy index are not quite true.
        more = len(true_keys) > wanted and true_scores[-1] <= bound
        hits = sum(
            key in good or (more and sign * distance <= bound)
            for key, distance in zip(keys[:k], distances[:k], strict=True)
        )
        answers.append(min(hits, wanted) / wanted)
    return answers


def first_queries(hits: Hits, count: int) -> Hits:
    """Hits of the first `count` queries alone, without columns."""
    end = int(hits.counts[:count].sum())
    return Hits(
        counts=hits.counts[:count],
        keys=hits.keys[:end],
        distances=hits.distances[:end],
        units=hits.units[:end],
        offsets=hits.offsets[:end],
        columns=None,
    )


def _per_query(hits: Hits) -> list[tuple[list[Any], list[float]]]:
    keys = hits.keys if isinstance(hits.keys, list) else hits.keys.tolist()
    distances = hits.distances.tolist()
    ends = np.cumsum(hits.counts).tolist()
    return [
        (keys[end - count : end], distances[end - count : end])
        for end, count in zip(ends, hits.counts.tolist(), strict=True)
    ]
