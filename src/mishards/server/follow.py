"""One follower per node: what it hears goes to every role of the node, reader first."""

from __future__ import annotations

from collections.abc import Sequence

from mishards.cluster.following import FollowSink
from mishards.core.ids import EntrySeq, Timestamp
from mishards.log.entry import Entry
from mishards.metadata.protocol import Changes


class FanOutSink:
    """Implements `FollowSink` over several, in the order given.

    Invariant: with the reader first, the proxy of the same node never knows of a timestamp that
    the reader has not applied.
    """

    def __init__(self, sinks: Sequence[FollowSink]) -> None:
        self._sinks = tuple(sinks)

    def apply_entry(self, entry: Entry) -> None:
        for sink in self._sinks:
            sink.apply_entry(entry)

    def apply_changes(self, changes: Changes) -> None:
        for sink in self._sinks:
            sink.apply_changes(changes)

    def apply_tick(self, seq: EntrySeq, timestamp: Timestamp) -> None:
        for sink in self._sinks:
            sink.apply_tick(seq, timestamp)
