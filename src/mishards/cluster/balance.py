"""How logs are spread over writers: which one a leader should hand to whom.

Pure. Invariant: a log moves only to a writer that leads at least two fewer, so moving ends.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from mishards.core.ids import LogId, NodeId
from mishards.discovery.protocol import NodeInfo


class Move(msgspec.Struct, frozen=True):
    """`log` should be led by `to`."""

    log: LogId
    to: NodeId


def surplus(led: Collection[LogId], others: Sequence[NodeInfo]) -> Move | None:
    """What a writer that leads `led` should hand over; None where it has its share or less.

    Args:
        others: the other writers that serve.
    """
    if not led or not others:
        return None
    least = min(others, key=lambda node: (len(node.leads), node.id))
    if len(led) - len(least.leads) < 2:
        return None
    return Move(max(led), least.id)
