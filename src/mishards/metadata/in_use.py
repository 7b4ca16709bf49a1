"""Which metadata versions the reads in flight of one node rely on.

Invariant: what `oldest` gives never exceeds the version that a read took before it, nor the one
that a read takes after it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mishards.core.ids import MetadataVersion

_ALL = MetadataVersion(0)


class VersionsInUse:
    """Counts nothing and locks nothing: one entry of a dictionary per read. Any thread."""

    def __init__(self, current: Callable[[], MetadataVersion]) -> None:
        """`current`: the oldest version that a read which begins at this moment may rely on; it
        never falls, and any thread may ask."""
        self._current = current
        self._numbers = itertools.count()
        self._held: dict[int, MetadataVersion] = {}

    def begin(self) -> int:
        """A read begins; give what this returns to `end`."""
        use = next(self._numbers)
        # Between the two steps the read counts as relying on everything: `oldest`, asked by
        # another thread meanwhile, must not overtake it.
        self._held[use] = _ALL
        self._held[use] = self._current()
        return use

    def end(self, use: int) -> None:
        """The read ended."""
        del self._held[use]

    def reads(self) -> int:
        """How many reads are in flight."""
        return len(self._held)

    @contextmanager
    def held(self) -> Iterator[None]:
        """For the length of a body."""
        use = self.begin()
        try:
            yield
        finally:
            self.end(use)

    def oldest(self) -> MetadataVersion:
        """The oldest version that a read in flight, or one that begins after this, relies on."""
        current = self._current()
        return min((current, *self._held.copy().values()))
