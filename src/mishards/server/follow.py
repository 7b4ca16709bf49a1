"""What a node hears of the logs and of metadata goes to every role of it, reader first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from mishards.cluster.following import FollowSink
from mishards.cluster.metadata_following import MetadataSink
from mishards.core.ids import EntrySeq, LogId, Timestamp
from mishards.log.entry import Entry
from mishards.metadata.protocol import Changes


class RoleSink(FollowSink, MetadataSink, Protocol):
    """A role that is told of everything."""


class FanOutSink:
    """Implements `RoleSink` over several, in the order given.

    Invariant: with the reader first, the proxy of the same node never knows of a timestamp that
    the reader has not applied.
    """

    def __init__(self, sinks: Sequence[RoleSink]) -> None:
        self._sinks = tuple(sinks)

    def apply_entry(self, entry: Entry) -> None:
        for sink in self._sinks:
            sink.apply_entry(entry)

    def apply_changes(self, changes: Changes) -> None:
        for sink in self._sinks:
            sink.apply_changes(changes)

    def apply_tick(self, log: LogId, seq: EntrySeq, timestamp: Timestamp) -> None:
        for sink in self._sinks:
            sink.apply_tick(log, seq, timestamp)

    async def begin_again(self, log: LogId, next_seq: EntrySeq) -> None:
        for sink in self._sinks:
            await sink.begin_again(log, next_seq)
