"""What a node measures itself with: instruments of the declared metrics, and their values.

Invariants: one `Metrics` per node, nothing is global; an instrument is found once and kept by
whoever uses it, so a measurement is one call without a look-up; what is known anyway is read when
somebody asks (`read`), not written down at each change. Where metrics are off, instruments do
nothing. Thread-safe, but for `values`, which is for the loop's thread, since functions given to
`read` look at what lives there.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from mishards.observability.metrics import (
    COLLECTION,
    MOST_COLLECTIONS,
    OTHERS,
    CounterOf,
    Declared,
    GaugeOf,
    HistogramOf,
)


class Counter:
    """Rises."""

    __slots__ = ("_lock", "value")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.value = 0.0

    def inc(self, amount: float = 1.0) -> None:
        with self._lock:
            self.value += amount


class Gauge(Counter):
    """Rises and falls, or is set."""

    __slots__ = ()

    def dec(self) -> None:
        self.inc(-1.0)

    def set(self, value: float) -> None:
        self.value = value


class Histogram:
    """Counts observations by size."""

    __slots__ = ("_bounds", "_lock", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._lock = threading.Lock()
        self.counts = [0] * (len(bounds) + 1)
        """Observations in each bucket, not those below it; the last has no bound."""
        self.total = 0.0

    def observe(self, value: float) -> None:
        place = bisect_left(self._bounds, value)
        with self._lock:
            self.counts[place] += 1
            self.total += value

    def state(self) -> tuple[list[int], float]:
        """Counts and sum, of one moment."""
        with self._lock:
            return list(self.counts), self.total


class _IdleCounter(Counter):
    __slots__ = ()

    def inc(self, amount: float = 1.0) -> None:
        pass


class _IdleGauge(Gauge):
    __slots__ = ()

    def inc(self, amount: float = 1.0) -> None:
        pass

    def set(self, value: float) -> None:
        pass


class _IdleHistogram(Histogram):
    __slots__ = ()

    def observe(self, value: float) -> None:
        pass


class Reading(NamedTuple):
    """A value that is looked up when somebody asks."""

    metric: CounterOf | GaugeOf
    value: float
    labels: tuple[str, ...] = ()


Read = Callable[[], Iterable[Reading]]
Labels = tuple[str, ...]


class Measured(NamedTuple):
    """What a metric says, by the values of its labels.

    Attributes:
        numbers: of a counter or a gauge.
        histograms: the counts of all buckets, and the sum of what was observed.
    """

    metric: Declared
    numbers: dict[Labels, float]
    histograms: dict[Labels, tuple[list[int], float]]


class Metrics:
    """All instruments of one node."""

    def __init__(self, *, enabled: bool = True) -> None:
        self.enabled = enabled
        self._lock = threading.Lock()
        self._known: dict[Declared, dict[Labels, Any]] = {}
        self._reads: list[Read] = []

    def counter(self, metric: CounterOf, *labels: str) -> Counter:
        """The instrument of one set of label values, made when it is first asked for."""
        found: Counter = self._found(metric, labels, Counter) if self.enabled else _IdleCounter()
        return found

    def gauge(self, metric: GaugeOf, *labels: str) -> Gauge:
        """As `counter`."""
        found: Gauge = self._found(metric, labels, Gauge) if self.enabled else _IdleGauge()
        return found

    def histogram(self, metric: HistogramOf, *labels: str) -> Histogram:
        """As `counter`."""
        if not self.enabled:
            return _IdleHistogram(metric.buckets)
        found: Histogram = self._found(metric, labels, lambda: Histogram(metric.buckets))
        return found

    def read(self, read: Read) -> Callable[[], None]:
        """Have `read` asked for values whenever somebody looks, until the answer is called.

        Args:
            read: called on the loop's thread; must not wait. Values with the same labels add up.
        """
        if self.enabled:
            self._reads.append(read)
        return lambda: self._reads.remove(read) if read in self._reads else None

    def forget(self, metric: Declared, *labels: str) -> None:
        """Show these values of labels no more."""
        with self._lock:
            self._known.get(metric, {}).pop(labels, None)

    def values(self) -> list[Measured]:
        """What all metrics say now, but for those of which nothing is known."""
        found: dict[Declared, Measured] = {}
        with self._lock:
            for metric, instruments in self._known.items():
                found[metric] = measured = Measured(metric, {}, {})
                for labels, one in instruments.items():
                    if isinstance(one, Histogram):
                        measured.histograms[labels] = one.state()
                    else:
                        measured.numbers[labels] = one.value
        for read in list(self._reads):
            for metric, value, labels in read():
                numbers = found.setdefault(metric, Measured(metric, {}, {})).numbers
                labels = _bounded(metric, labels, numbers)
                numbers[labels] = numbers.get(labels, 0.0) + value
        return list(found.values())

    def _found(self, metric: Declared, labels: Labels, make: Callable[[], Any]) -> Any:
        with self._lock:
            instruments = self._known.setdefault(metric, {})
            labels = _bounded(metric, labels, instruments)
            if labels not in instruments:
                instruments[labels] = make()
            return instruments[labels]


def _bounded(metric: Declared, labels: Labels, known: Mapping[Labels, Any]) -> Labels:
    """The labels under which a value goes, which are not its own where there are too many."""
    if len(labels) != len(metric.labels):
        raise ValueError(f"{metric.name} has the labels {metric.labels}, not {labels}")
    if metric.labels[:2] != COLLECTION or labels in known or len(known) < MOST_COLLECTIONS:
        return labels
    return (OTHERS, OTHERS, *labels[2:])
