"""Which nodes of a shared table are alive, judged without comparing clocks of machines.

A node raises its beat whenever it renews its row. A reader of the table holds a node for live
while it sees the beat change, and counts the silence of one that does not change on its own
monotonic clock. Invariants:

- wall clocks only decide about the very first sight of a row, where nothing else is known: a row
  whose time looks recent counts as live until its silence is long enough, any other row counts
  only once its beat changed. A wrong clock costs one beat of delay or one `ttl_s` of a dead node
  in the list, never a live node that is missing for longer;
- silence counts only while this reader was looking: the gap between two looks counts for at most
  a third of `ttl_s`, so nobody is dead after an outage of the table or a pause of this process;
- who cannot write its own row judges nobody: a table that can be read but not written would
  otherwise make every node look dead.
"""

from __future__ import annotations

import msgspec

from mishards.core.ids import NodeId

Beat = tuple[int, int]
"""A counter, and the node's wall clock in milliseconds; any change of either is a sign of life."""


class _Seen(msgspec.Struct):
    beat: Beat
    silence_s: float
    live: bool


class Liveness:
    """What one reader of the table remembers. Not thread-safe."""

    def __init__(self, ttl_s: float) -> None:
        self._ttl_s = ttl_s
        self._looked_s: float | None = None
        self._seen: dict[NodeId, _Seen] = {}

    def look(
        self, beats: dict[NodeId, Beat], *, monotonic_s: float, now_ms: int, writable: bool
    ) -> frozenset[NodeId]:
        """The live nodes of a table as it was just read.

        Args:
            beats: of all rows.
            writable: this process renews no row, or did so a short while ago.
        """
        passed_s = 0.0
        if self._looked_s is not None and writable:
            passed_s = min(monotonic_s - self._looked_s, self._ttl_s / 3)
        self._looked_s = monotonic_s
        for gone in self._seen.keys() - beats.keys():
            del self._seen[gone]
        for node, beat in beats.items():
            seen = self._seen.get(node)
            if seen is None:
                recent = abs(now_ms - beat[1]) <= self._ttl_s * 1000
                self._seen[node] = _Seen(beat, 0.0, recent)
            elif seen.beat != beat:
                seen.beat, seen.silence_s, seen.live = beat, 0.0, True
            else:
                seen.silence_s += passed_s
                seen.live = seen.live and seen.silence_s < self._ttl_s
        return frozenset(node for node, seen in self._seen.items() if seen.live)

    def silent_for(self, seconds: float) -> dict[NodeId, Beat]:
        """Rows whose beat was not seen to change for so long, with that beat."""
        return {node: seen.beat for node, seen in self._seen.items() if seen.silence_s >= seconds}
