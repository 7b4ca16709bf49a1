"""The log: do its followers keep up, and is it trimmed?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mishards.core.ids import Timestamp
from mishards.core.timestamps import physical_ms
from mishards.doctor.findings import Check, Finding
from mishards.doctor.logs import LogFacts
from mishards.doctor.nodes import NodeFacts
from mishards.doctor.words import duration, size
from mishards.server.config import Config

LAG = Check(
    "log.lag",
    "Have all readers and proxies applied the log nearly to its end?",
    "reads on a node that is behind wait or fail at Strong, Session and Bounded, and it holds back "
    "trimming",
)
LENGTH = Check(
    "log.length",
    "Is the log trimmed?",
    "it fills storage, and whoever starts has to read what is not sealed yet",
)
CHECKS = (LAG, LENGTH)

_LATE_S = 5.0
_TOO_LATE_S = 60.0
_LONG_REPLAY_BYTES = 2 << 30


def judge_log(
    nodes: Sequence[NodeFacts], logs: Sequence[LogFacts], config: Config, collections: int
) -> Iterator[Finding]:
    """What follows from the positions of nodes and from what lies on storage.

    Args:
        collections: how many there are: each may have growing rows.
    """
    for log in logs:
        yield from _lag(log, nodes)
        yield _length(log, config, collections)


def _lag(log: LogFacts, nodes: Sequence[NodeFacts]) -> Iterator[Finding]:
    number = log.meta.id
    leaders = [n for n in nodes if n.serves and n.now.reign(number) >= 0 and n.status is not None]
    if not leaders:
        return
    leader = max(leaders, key=lambda node: node.now.reign(number))
    assert leader.status is not None
    newest = leader.status.applied_ts.get(number, Timestamp(0))
    well = True
    for node in nodes:
        if (
            node is leader
            or node.status is None
            or not node.serves
            or node.now.roles == ("writer",)
        ):
            continue
        applied = node.status.applied_ts.get(number, Timestamp(0))
        behind_s = (physical_ms(newest) - physical_ms(applied)) / 1000
        if not newest or behind_s <= _LATE_S:
            continue
        well = False
        at, last = node.status.applied_seq.get(number, 0), leader.status.applied_seq.get(number, 0)
        told = f"{node.id} is {duration(behind_s)} behind log {number} (entry {at} of {last})"
        todo = (
            f"look at {node.id}'s load, and at the network between it, {leader.id} and storage; "
            "restart it if it does not catch up"
        )
        yield (LAG.failure if behind_s > _TOO_LATE_S else LAG.warning)(told, todo)
    if well:
        yield LAG.ok(f"all follow log {number} within {duration(_LATE_S)}")


def _length(log: LogFacts, config: Config, collections: int) -> Finding:
    writer = config.writer
    kept = writer.log_keep_bytes + writer.replay_tail_bytes
    usual = 2 * (kept + writer.flush_bytes * max(1, collections))
    told = (
        f"log {log.meta.id}: {log.entries:,} entries of {size(log.size_bytes)}; the next leader "
        f"reads {log.replay_entries:,} of {size(log.replay_bytes)}"
    )
    if log.problem and not log.entries:
        return LENGTH.note(f"log {log.meta.id} was not looked at: {log.problem}")
    if log.size_bytes > usual:
        return LENGTH.warning(
            told,
            "see docs/operations.md, 'The log's size': flushes that fail, a reader that stands "
            "still or a backup's pin holds back trimming",
        )
    if log.replay_bytes > max(_LONG_REPLAY_BYTES, usual):
        return LENGTH.warning(told, "flush the collections, or lower writer.flush_bytes")
    return LENGTH.ok(told)
