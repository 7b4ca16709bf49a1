"""What was found damaged, and when it is tried again.

Invariants: a damaged object is not read again for each read that needs it; it is tried again after
a pause that doubles with every failure, so what was healed serves again by itself. From the loop's
thread.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Generic, NamedTuple, TypeVar

from mishards.core.errors import CorruptObject, MishardsError, ObjectNotFound, SegmentNotFound

DAMAGE = (CorruptObject, ObjectNotFound, SegmentNotFound)
"""Errors that say that an object is not what metadata says it is; all others may pass."""
_MOST_DOUBLINGS = 4

K = TypeVar("K", bound=Hashable)


class _Entry(NamedTuple):
    error: MishardsError
    failures: int
    until_s: float


class Quarantine(Generic[K]):
    """Things by key, with the error that put them here."""

    def __init__(self, monotonic_s: Callable[[], float], pause_s: float) -> None:
        """`pause_s`: before the first new attempt; at most 16 times that before any later one."""
        self._monotonic_s = monotonic_s
        self._pause_s = pause_s
        self._entries: dict[K, _Entry] = {}

    def put(self, key: K, error: MishardsError) -> None:
        """An attempt at `key` failed."""
        failures = self._entries[key].failures + 1 if key in self._entries else 1
        pause_s = self._pause_s * 2 ** min(failures - 1, _MOST_DOUBLINGS)
        self._entries[key] = _Entry(error, failures, self._monotonic_s() + pause_s)

    def refusal(self, key: K) -> MishardsError | None:
        """The error that an attempt ended with, while it is too early for another one."""
        entry = self._entries.get(key)
        if entry is None or entry.until_s <= self._monotonic_s():
            return None
        return type(entry.error)(entry.error.message)

    def release(self, key: K) -> None:
        """It is sound, or no longer wanted."""
        self._entries.pop(key, None)

    def keep(self, wanted: Callable[[K], bool]) -> None:
        """Release all that are not wanted any more."""
        for key in [key for key in self._entries if not wanted(key)]:
            del self._entries[key]

    def due(self) -> Iterable[K]:
        """Those that may be tried again."""
        now = self._monotonic_s()
        return [key for key, entry in self._entries.items() if entry.until_s <= now]

    def reasons(self) -> dict[K, str]:
        """What is here, and why."""
        return {key: entry.error.message for key, entry in self._entries.items()}
