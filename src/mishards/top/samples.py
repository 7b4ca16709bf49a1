"""What a node's `/metrics` said at two moments, and what it did between them.

Invariants: a counter that fell was begun anew by a restart, and counts from 0; where a metric is
missing there is no figure, never a 0 that was made up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from mishards.observability.metrics import Declared

Labels = tuple[tuple[str, str], ...]


class Scrape(msgspec.Struct, frozen=True):
    """Samples by name and labels, and when they were taken, on the monotonic clock.

    Attributes:
        values: per sample name, as `x_total` and `x_bucket`, values by sorted labels.
    """

    at_s: float
    values: Mapping[str, Mapping[Labels, float]]

    def gauge(self, metric: Declared, **labels: str) -> float | None:
        """The sum of a metric's values with these labels; None where there are none."""
        found = _with(self.values.get(metric.name, {}), labels)
        return sum(found.values()) if found else None


def parse(text: str, at_s: float) -> Scrape:
    """The samples of a page in Prometheus's text format.

    Raises:
        ValueError: it is no such page.
    """
    values: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            values.setdefault(sample.name, {})[labels] = sample.value
    return Scrape(at_s, values)


def rate(before: Scrape, now: Scrape, metric: Declared, **labels: str) -> float | None:
    """How fast a counter rose, a second; None where it is not measured."""
    found = _risen(before, now, metric.name, labels)
    seconds = now.at_s - before.at_s
    return sum(found.values()) / seconds if found and seconds > 0 else None


def quantile(
    before: Scrape, now: Scrape, metric: Declared, share: float, **labels: str
) -> float | None:
    """The value below which `share` of a histogram's observations between two scrapes lie; None
    where there were none. Within a bucket they are taken to lie evenly."""
    found = _risen(before, now, f"{metric.name}_bucket", labels)
    buckets: dict[float, float] = {}
    for key, count in found.items():
        bound = float(dict(key)["le"])
        buckets[bound] = buckets.get(bound, 0.0) + count
    bounds = sorted(buckets)
    total = buckets[bounds[-1]] if bounds else 0.0
    if not total:
        return None
    wanted, below, last = share * total, 0.0, 0.0
    for bound in bounds:
        count = buckets[bound]
        if count >= wanted:
            if math.isinf(bound):
                return last
            within = (wanted - below) / (count - below) if count > below else 1.0
            return last + (bound - last) * within
        below, last = count, bound
    return last


def _risen(
    before: Scrape, now: Scrape, name: str, labels: Mapping[str, str]
) -> dict[Labels, float]:
    old = before.values.get(name, {})
    found = {}
    for key, value in _with(now.values.get(name, {}), labels).items():
        earlier = old.get(key, 0.0)
        found[key] = value - earlier if value >= earlier else value
    return found


def _with(values: Mapping[Labels, float], labels: Mapping[str, str]) -> dict[Labels, float]:
    return {key: value for key, value in values.items() if labels.items() <= dict(key).items()}
