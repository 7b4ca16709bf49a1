"""Mutations that are in the log and not yet in sealed segments, per collection.

Invariants: the mutations of a collection are in the order of their timestamps, all after its
checkpoint; they are kept as they came, encoded. Used on the loop's thread only.
"""

from __future__ import annotations

from collections.abc import Mapping

from mishards.core.ids import CollectionId, EntrySeq, Timestamp
from mishards.log.entry import Mutation
from mishards.metadata.snapshot import CollectionView


class GrowingCollection:
    """Growing mutations of one collection."""

    def __init__(self, since_s: float) -> None:
        self.mutations: list[tuple[EntrySeq, Mutation]] = []
        self.rows = 0
        self.size_bytes = 0
        self.since_s = since_s
        """Monotonic time at which the oldest of them came, or the last ones were sealed."""

    def add(self, seq: EntrySeq, mutation: Mutation) -> None:
        self.mutations.append((seq, mutation))
        self._count(mutation, 1)

    def trim(self, checkpoint: Timestamp) -> None:
        """Let go of what is sealed."""
        kept = 0
        for _, mutation in self.mutations:
            if mutation.timestamp > checkpoint:
                break
            self._count(mutation, -1)
            kept += 1
        del self.mutations[:kept]

    def _count(self, mutation: Mutation, sign: int) -> None:
        self.rows += sign * mutation.row_count
        self.size_bytes += sign * (len(mutation.rows) + len(mutation.keys))


class Growing:
    """Growing mutations of all collections of a log."""

    def __init__(self) -> None:
        self._collections: dict[CollectionId, GrowingCollection] = {}

    def add(self, seq: EntrySeq, mutation: Mutation, now_s: float) -> GrowingCollection:
        """Add the newest mutation of its collection."""
        if (found := self._collections.get(mutation.collection)) is None:
            found = self._collections[mutation.collection] = GrowingCollection(now_s)
        found.add(seq, mutation)
        return found

    def keep_to(self, collections: Mapping[CollectionId, CollectionView], now_s: float) -> None:
        """Let go of what newer metadata says is sealed or dropped."""
        for collection_id in list(self._collections):
            view = collections.get(collection_id)
            state = self._collections[collection_id]
            if view is not None and state.mutations[0][1].timestamp > view.meta.checkpoint:
                continue
            if view is not None:
                state.trim(view.meta.checkpoint)
                state.since_s = now_s
            if view is None or not state.mutations:
                del self._collections[collection_id]

    def collections(self) -> Mapping[CollectionId, GrowingCollection]:
        """Those that have growing mutations."""
        return self._collections

    def up_to(self, collection_id: CollectionId, cut: Timestamp) -> tuple[Mutation, ...]:
        """The growing mutations of a collection with timestamps up to `cut`."""
        state = self._collections.get(collection_id)
        if state is None:
            return ()
        return tuple(m for _, m in state.mutations if m.timestamp <= cut)

    def first_seq(self, sealed: CollectionId | None, checkpoint: Timestamp) -> EntrySeq | None:
        """The first entry that holds a growing mutation, as if `sealed` were sealed up to
        `checkpoint`; None when there is none."""
        firsts = []
        for collection_id, state in self._collections.items():
            floor = checkpoint if collection_id == sealed else 0
            first = next((s for s, m in state.mutations if m.timestamp > floor), None)
            if first is not None:
                firsts.append(first)
        return min(firsts, default=None)
