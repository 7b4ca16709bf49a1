"""How the answer of a read differs from what a collection held: I2, I4 and I9.

I2 no phantom row, no key twice in an answer · I4 no answer silently misses anything · I9 a top-k is
that of one node with all rows. Invariant: an answer is held against all states of a span at once,
so it passes when it agrees with any of them key by key.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from mishards.core.schema import Metric
from mishards.testing.history import Found, Key, Operation, Row
from mishards.testing.truth import Truth

_TOLERANCE = 1e-3


class Answers:
    """Compares answers with the truth."""

    def __init__(self, truth: Truth, metric: Metric) -> None:
        self._truth = truth
        self._metric = metric

    def differences(self, operation: Operation, low: int, high: int) -> list[tuple[str, str]]:
        """How an answer differs from every state between `low` and `high`."""
        possible: dict[Key, list[Row]] = {}
        certain: dict[Key, list[Row]] = {}
        for key in self._truth.keys:
            options = self._truth.options(key, low, high)
            rows = [o for o in options if o is not None and operation.condition.matches(o)]
            if rows:
                possible[key] = rows
            if len(rows) == len(options):
                certain[key] = rows
        if operation.kind == "count":
            if len(certain) <= operation.count <= len(possible):
                return []
            expected = f"{len(certain)} to {len(possible)}"
            return [("I4", f"counts {operation.count} rows instead of {expected}")]
        if operation.kind == "query":
            return _row_differences(operation.found, possible, set(certain))
        differences = []
        start = 0
        for query, count in zip(operation.queries, operation.counts, strict=True):
            hits = operation.found[start : start + count]
            start += count
            differences += self._hit_differences(hits, query, operation.k, possible, certain)
        return differences

    def _hit_differences(
        self,
        hits: Sequence[Found],
        query: tuple[float, ...],
        k: int,
        possible: dict[Key, list[Row]],
        certain: dict[Key, list[Row]],
    ) -> list[tuple[str, str]]:
        """I9: every hit is real, in order, and no nearer row is missing."""
        differences = _row_differences(hits, possible, set())
        ranks = [self._rank(hit.distance) for hit in hits]
        if ranks != sorted(ranks):
            differences.append(("I9", "hits are not in order"))
        for hit in hits:
            rows = [row for row in possible.get(hit.key, ()) if row.stamp == hit.stamp]
            for row in rows:
                if abs(self._distance(query, row) - hit.distance) > _TOLERANCE:
                    differences.append(("I9", f"the distance of {hit} is {hit.distance}"))
        if len(hits) > k:
            differences.append(("I9", f"{len(hits)} hits, {k} were asked for"))
        found = {hit.key for hit in hits}
        worst = ranks[-1] if len(hits) == k else float("inf")
        for key, rows in certain.items():
            farthest = max(self._rank(self._distance(query, row)) for row in rows)
            if key not in found and farthest < worst - _TOLERANCE:
                differences.append(("I4", f"key {key!r} is missing among the hits"))
        return differences

    def _rank(self, distance: float) -> float:
        """Rises from best to worst."""
        return distance if self._metric.smaller_is_closer else -distance

    def _distance(self, query: tuple[float, ...], row: Row) -> float:
        if self._metric is Metric.L2:
            return sum((a - b) ** 2 for a, b in zip(query, row.vector, strict=True))
        product = _dot(query, row.vector)
        if self._metric is Metric.IP:
            return product
        return product / math.sqrt(_dot(query, query) * _dot(row.vector, row.vector))


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def _row_differences(
    found: Sequence[Found], possible: dict[Key, list[Row]], certain: set[Key]
) -> list[tuple[str, str]]:
    differences = []
    counts = Counter(one.key for one in found)
    for key, times in counts.items():
        if times > 1:
            differences.append(("I2", f"key {key!r} came {times} times"))
    for one in found:
        if not any(
            r.stamp == one.stamp and r.group == one.group for r in possible.get(one.key, ())
        ):
            differences.append(("I2", f"{one} is in no state the answer may show"))
    for key in certain - counts.keys():
        differences.append(("I4", f"key {key!r} is missing"))
    return differences
