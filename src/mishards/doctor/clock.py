"""Clocks: of nodes among each other, of this machine, of storage and of the database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mishards.doctor.database import DatabaseFacts
from mishards.doctor.findings import Check, Finding, Trouble
from mishards.doctor.nodes import NodeFacts
from mishards.doctor.storage import StorageFacts
from mishards.doctor.words import duration

NODES = Check(
    "clock.nodes",
    "Do the clocks of all nodes agree?",
    "no row is lost by a wrong clock, but rows expire too early or too late "
    "(collection.ttl.seconds), times in answers and logs mislead, and after a "
    "takeover timestamps run ahead of the clock",
)
SERVICES = Check(
    "clock.services",
    "Do the clocks of storage and database agree with this machine's?",
    "certificates and signed requests are refused by clocks that differ",
)
CHECKS = (NODES, SERVICES)

_NOTED_MS, _MOST_MS = 1_000.0, 5_000.0


def judge_clocks(
    nodes: Sequence[NodeFacts],
    storage: StorageFacts | Trouble,
    database: DatabaseFacts | Trouble,
) -> Iterator[Finding]:
    """What follows from the offsets that were seen; what an answer took is not held against it."""
    yield from _nodes([node for node in nodes if node.condition is not None])
    offsets = {}
    if isinstance(storage, StorageFacts) and storage.clock_offset_ms is not None:
        offsets["storage"] = storage.clock_offset_ms
    if isinstance(database, DatabaseFacts) and database.clock_offset_ms is not None:
        offsets["the database"] = database.clock_offset_ms
    for what, offset_ms in offsets.items():
        told = f"the clock of {what} is {_offset(offset_ms)} this machine's"
        if abs(offset_ms) > _MOST_MS:
            yield SERVICES.warning(told, "synchronise both with NTP (chronyd, systemd-timesyncd)")
        else:
            yield SERVICES.ok(told)


def _nodes(nodes: Sequence[NodeFacts]) -> Iterator[Finding]:
    if not nodes:
        return
    # A node is measured against the middle of all: that this machine's clock is wrong is no
    # fault of theirs.
    offsets = sorted(node.offset_ms for node in nodes)
    middle_ms = offsets[len(offsets) // 2] if len(nodes) > 2 else 0.0
    well = True
    for node in nodes:
        offset_ms = node.offset_ms - middle_ms
        certain_ms = abs(offset_ms) - node.error_ms
        told = f"the clock of {node.id} is {_offset(offset_ms)} the others"
        if certain_ms > _MOST_MS:
            well = False
            yield NODES.warning(
                told, "synchronise the machine with NTP (chronyd, systemd-timesyncd)"
            )
        elif certain_ms > _NOTED_MS:
            well = False
            yield NODES.note(told)
    if well:
        widest = max(abs(node.offset_ms - middle_ms) for node in nodes)
        yield NODES.ok(f"they differ by less than {duration(max(widest, 1.0) / 1000)}")


def _offset(offset_ms: float) -> str:
    way = "ahead of" if offset_ms > 0 else "behind"
    return f"{duration(abs(offset_ms) / 1000)} {way}"
