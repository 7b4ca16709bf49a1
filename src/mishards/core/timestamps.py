"""Milvus's hybrid timestamps: physical milliseconds in the high bits, a counter in the low 18.

Invariant: what one `TimestampAllocator` gives rises strictly, whatever the clock does.
Source: Milvus `docs/design_docs/20211214-milvus_hybrid_ts.md`.
"""

from __future__ import annotations

from collections.abc import Callable

from mishards.core.ids import Timestamp

LOGICAL_BITS = 18
_LEAST_ROOM_MS = 200
MAX_TIMESTAMP = Timestamp((1 << 63) - 1)


def compose(milliseconds: int, counter: int = 0) -> Timestamp:
    return Timestamp((milliseconds << LOGICAL_BITS) | counter)


def physical_ms(timestamp: Timestamp) -> int:
    """The Unix time in milliseconds inside `timestamp`."""
    return timestamp >> LOGICAL_BITS


class TimestampAllocator:
    """Gives strictly rising timestamps; one per log and leader, used from one thread."""

    def __init__(self, now_ms: Callable[[], int], floor: Timestamp) -> None:
        """`floor` is the greatest timestamp ever given before; all that follow are greater."""
        self._now_ms = now_ms
        self._last = floor

    @property
    def last(self) -> Timestamp:
        return self._last

    def allocate(self, count: int = 1) -> Timestamp:
        """The first of `count` consecutive timestamps, all of them now taken."""
        first = Timestamp(max(self._last + 1, compose(self._now_ms())))
        self._last = Timestamp(first + count - 1)
        return first

    def pass_by(self, timestamp: Timestamp) -> None:
        """Give only greater ones from here on."""
        self._last = max(self._last, timestamp)

    def ceiling(self, horizon_ms: int) -> Timestamp:
        """A bound for what is given in the next `horizon_ms`.

        Where the timestamps have run ahead of the clock, by a clock set back or by a ceiling of
        before, it stays close to them: one ceiling after another does not carry them off.
        """
        near = Timestamp(self._last + compose(_LEAST_ROOM_MS))
        return max(near, compose(self._now_ms() + horizon_ms))
