"""What a writer measures while it works. From the loop's thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mishards.core.errors import DiskFull, MishardsError, TooManyRequests
from mishards.log.entry import Entry
from mishards.observability.instruments import Metrics
from mishards.observability.metrics import (
    BUILD_SECONDS,
    BUILDS,
    COMMIT_BYTES,
    COMMIT_MUTATIONS,
    COMPACTED_SEGMENTS,
    COMPACTION_SECONDS,
    COMPACTIONS,
    FLUSH_SECONDS,
    FLUSHED_ROWS,
    FLUSHES,
    GARBAGE_OBJECTS,
    REFUSALS,
    TRIMMED_ENTRIES,
    WRITER_ROWS,
    WRITER_STAGE_SECONDS,
    CounterOf,
    HistogramOf,
)


def _no_time() -> float:
    return 0.0


class WriterMeasures:
    """Instruments of one candidate for one log, over all its reigns."""

    def __init__(
        self, metrics: Metrics | None = None, clock: Callable[[], float] = _no_time
    ) -> None:
        """Without metrics nothing is measured."""
        metrics = metrics or Metrics(enabled=False)
        self.metrics = metrics
        self.clock = clock
        self._inserted = metrics.counter(WRITER_ROWS, "inserted")
        self._deleted = metrics.counter(WRITER_ROWS, "deleted")
        self.queue = metrics.histogram(WRITER_STAGE_SECONDS, "queue")
        self.append = metrics.histogram(WRITER_STAGE_SECONDS, "append")
        self._mutations = metrics.histogram(COMMIT_MUTATIONS)
        self._bytes = metrics.histogram(COMMIT_BYTES)
        self.flushed_rows = metrics.counter(FLUSHED_ROWS)
        self.compacted_segments = metrics.counter(COMPACTED_SEGMENTS)
        self.garbage = metrics.counter(GARBAGE_OBJECTS)
        self.trimmed = metrics.counter(TRIMMED_ENTRIES)

    def durable(self, entry: Entry, size_bytes: int) -> None:
        """An entry is durable; one without mutations carries the time on and does not count."""
        if not entry.mutations:
            return
        self._mutations.observe(len(entry.mutations))
        self._bytes.observe(size_bytes)
        self._inserted.inc(sum(one.row_count for one in entry.mutations))
        self._deleted.inc(sum(one.key_count for one in entry.mutations))

    def refused(self, error: MishardsError) -> None:
        """A write was refused."""
        reason = "other"
        if isinstance(error, TooManyRequests):
            reason = "queue"
        elif isinstance(error, DiskFull):
            reason = "disk_full"
        elif error.input_fault:
            reason = "invalid"
        self.metrics.counter(REFUSALS, reason).inc()

    @contextmanager
    def flushing(self) -> Iterator[None]:
        """Around a seal of growing rows."""
        with self._work(FLUSHES, FLUSH_SECONDS):
            yield

    @contextmanager
    def building(self) -> Iterator[None]:
        """Around a build of an index."""
        with self._work(BUILDS, BUILD_SECONDS):
            yield

    @contextmanager
    def compacting(self) -> Iterator[None]:
        """Around a merge of segments."""
        with self._work(COMPACTIONS, COMPACTION_SECONDS):
            yield

    @contextmanager
    def _work(self, count: CounterOf, seconds: HistogramOf) -> Iterator[None]:
        began_s = self.clock()
        try:
            yield
        except MishardsError:
            self.metrics.counter(count, "failed").inc()
            raise
        self.metrics.counter(count, "done").inc()
        self.metrics.histogram(seconds).observe(self.clock() - began_s)
