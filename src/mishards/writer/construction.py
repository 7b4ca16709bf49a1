"""What a leader has under construction: objects between their upload and the commit that names
them, and those that it makes others of.

Invariant: an object that will still be named is held from before its upload until after its
commit, so that garbage collection, which sees objects that nothing names, leaves it alone; one
that is read at length is held meanwhile, for the metadata may let it go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class Construction:
    """Keys of objects under construction. From the loop's thread."""

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()

    @contextmanager
    def holding(self, keys: Iterable[str]) -> Iterator[None]:
        """Hold objects for the length of a body.

        Args:
            keys: of objects; one that ends with "/" stands for all that start with it.
        """
        held = tuple(keys)
        self._held.update(held)
        try:
            yield
        finally:
            self._held.subtract(held)
            self._held = +self._held

    def covers(self, key: str) -> bool:
        """Whether the object is under construction."""
        if key in self._held:
            return True
        return any(one[-1] == "/" and key.startswith(one) for one in self._held)
