"""Mutations of collections that metadata does not know yet.

An entry may arrive before the metadata that explains it, or long after its collection was dropped;
which of the two it is, the reader cannot tell. Invariant: what is held is bounded in bytes; what
had to be let go is remembered by the first log entry it was in.
"""

from __future__ import annotations

from collections import OrderedDict

from mishards.core.ids import CollectionId, EntrySeq
from mishards.log.entry import Mutation


class PendingMutations:
    """From the loop's thread."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._held: OrderedDict[CollectionId, list[Mutation]] = OrderedDict()
        self._first: dict[CollectionId, EntrySeq] = {}
        self._lost: dict[CollectionId, EntrySeq] = {}
        self.size_bytes = 0

    def add(self, mutation: Mutation, seq: EntrySeq) -> None:
        """Hold a mutation; the collections that have waited longest make room for it."""
        collection = mutation.collection
        if collection in self._lost:
            return
        self._first.setdefault(collection, seq)
        self._held.setdefault(collection, []).append(mutation)
        self.size_bytes += _size(mutation)
        while self.size_bytes > self._limit and self._held:
            oldest, mutations = self._held.popitem(last=False)
            self.size_bytes -= sum(map(_size, mutations))
            self._lost[oldest] = self._first.pop(oldest)

    def take(self, collection: CollectionId) -> list[Mutation]:
        """The mutations held for a collection, in order, now no longer held."""
        self._first.pop(collection, None)
        mutations = self._held.pop(collection, [])
        self.size_bytes -= sum(map(_size, mutations))
        return mutations

    def lost_since(self, collection: CollectionId) -> EntrySeq | None:
        """The first entry with mutations of the collection, where they were let go; asked once."""
        return self._lost.pop(collection, None)

    def forget(self, collection: CollectionId) -> None:
        """The collection was dropped."""
        self.take(collection)
        self._lost.pop(collection, None)


def _size(mutation: Mutation) -> int:
    return len(mutation.rows) + len(mutation.keys) + 256
