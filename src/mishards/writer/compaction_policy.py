"""Which segments of a collection to merge or rewrite: decided from sizes and deletes alone.

Pure and deterministic. Invariants: a task's inputs are of one partition; no segment is in two
tasks; what is left after all tasks are done gives no further task unless rows or deletes come.

Sizes count in shares of the target, live rows only. Tier t holds those in (fan^-(t+1), fan^-t];
`fan` segments of a tier make one of a lower tier, so a row is written once per tier at most: with
flushes of a share w, 2 + log_fan(1/w) times in all. A segment above half the target is full: its
rows are written again only for deletes. There it takes `dead_share` of its rows to be deleted, so
a deleted row costs at most (1 - dead_share) / dead_share written ones, and deleted rows take at
most dead_share of the space.
"""

from __future__ import annotations

import enum
from collections import defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from mishards.core.ids import PartitionId, SegmentId

_FULL = 0.5
_MOST_INPUTS = 64


class SegmentLoad(msgspec.Struct, frozen=True, kw_only=True):
    """What the policy knows of a segment.

    Attributes:
        dead: rows that a delete hides, as far as known.
        pending: deletes in files that may still concern it.
    """

    id: SegmentId
    partition: PartitionId
    rows: int
    size_bytes: int
    dead: int = 0
    pending: int = 0


class CompactionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What the policy aims at; see the module.

    Attributes:
        target_rows, target_bytes: a segment is to have at most so many.
    """

    target_rows: int
    target_bytes: int
    fan: int = 4
    dead_share: float = 0.2

    def share(self, load: SegmentLoad) -> float:
        """Of the target that the live rows take."""
        live = load.rows - load.dead
        return max(live / self.target_rows, live * load.size_bytes / load.rows / self.target_bytes)


class Reason(enum.StrEnum):
    """Why a task is done."""

    EMPTY = "all rows deleted"
    DELETED = "many rows deleted"
    SMALL = "small segments"
    PENDING = "many deletes kept"
    ASKED = "asked for"


class Compaction(msgspec.Struct, frozen=True):
    """Inputs, ascending, of one partition, to be replaced by what lives of their rows."""

    partition: PartitionId
    inputs: tuple[SegmentId, ...]
    reason: Reason


def choose(loads: Iterable[SegmentLoad], limits: CompactionLimits) -> list[Compaction]:
    """What is due in one collection, the cheapest per gain first."""
    loads = sorted(loads, key=lambda load: load.id)
    owed = _owed(loads)
    chosen: list[Compaction] = []
    for partition, members in _by_partition(loads).items():
        empty = [load for load in members if load.dead >= load.rows]
        if empty:
            chosen.append(_compaction(partition, empty, Reason.EMPTY))
        rest = [load for load in members if load.dead < load.rows]
        deleted = [load for load in rest if load.dead >= limits.dead_share * load.rows]
        chosen += _packed(partition, deleted, limits, Reason.DELETED)
        rest = [load for load in rest if load.dead < limits.dead_share * load.rows]
        pending = [load for load in rest if load.dead and load.pending >= owed]
        chosen += _packed(partition, pending, limits, Reason.PENDING)
        taken = {load.id for load in pending}
        chosen += _small(partition, [load for load in rest if load.id not in taken], limits)
    return sorted(chosen, key=lambda one: (list(Reason).index(one.reason), one.inputs))


def choose_all(
    loads: Iterable[SegmentLoad], limits: CompactionLimits, *, deletes_only: bool = False
) -> list[Compaction]:
    """All that can be gained in one collection, whatever it costs: small segments are merged
    however few they are, and deleted rows leave however few they are.

    Args:
        deletes_only: leave segments without deleted rows alone.
    """
    chosen = []
    for partition, members in _by_partition(sorted(loads, key=lambda load: load.id)).items():
        open_ended = [
            load
            for load in members
            if load.dead or (not deletes_only and limits.share(load) <= _FULL)
        ]
        worth = {load.id for load in open_ended if load.dead}
        for one in _packed(partition, open_ended, limits, Reason.ASKED):
            if len(one.inputs) > 1 or worth.intersection(one.inputs):
                chosen.append(one)
    return chosen


def _owed(loads: Sequence[SegmentLoad]) -> int:
    """How many deletes have to be kept before segments are rewritten to be rid of them: as many
    as rows would be written for it."""
    return max(1, sum(load.rows - load.dead for load in loads if load.dead))


def _small(
    partition: PartitionId, members: Sequence[SegmentLoad], limits: CompactionLimits
) -> Iterable[Compaction]:
    """Merges within a tier that has `fan` segments."""
    tiers: defaultdict[int, list[SegmentLoad]] = defaultdict(list)
    for load in members:
        share = limits.share(load)
        if share <= _FULL:
            tiers[_tier(share, limits.fan)].append(load)
    for tier in sorted(tiers, reverse=True):
        waiting = tiers[tier]
        while len(waiting) >= limits.fan:
            group = _fitting(waiting, limits)
            yield _compaction(partition, group, Reason.SMALL)
            waiting = waiting[len(group) :]


def _packed(
    partition: PartitionId,
    members: Sequence[SegmentLoad],
    limits: CompactionLimits,
    reason: Reason,
) -> Iterable[Compaction]:
    """All of them, in groups that fit into the target."""
    waiting = list(members)
    while waiting:
        group = _fitting(waiting, limits)
        yield _compaction(partition, group, reason)
        waiting = waiting[len(group) :]


def _fitting(waiting: Sequence[SegmentLoad], limits: CompactionLimits) -> list[SegmentLoad]:
    """The first of them, and those after it that fit into one target with it."""
    group = [waiting[0]]
    share = limits.share(waiting[0])
    for load in waiting[1:_MOST_INPUTS]:
        share += limits.share(load)
        if share > 1.0:
            break
        group.append(load)
    return group


def _tier(share: float, fan: int) -> int:
    tier, bound = 0, 1.0 / fan
    while share <= bound and tier < 64:
        tier, bound = tier + 1, bound / fan
    return tier


def _by_partition(loads: Iterable[SegmentLoad]) -> dict[PartitionId, list[SegmentLoad]]:
    found: defaultdict[PartitionId, list[SegmentLoad]] = defaultdict(list)
    for load in loads:
        found[load.partition].append(load)
    return dict(found)


def _compaction(
    partition: PartitionId, members: Sequence[SegmentLoad], reason: Reason
) -> Compaction:
    return Compaction(partition, tuple(load.id for load in members), reason)
