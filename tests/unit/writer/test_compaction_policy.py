"""Which segments are merged or rewritten."""

from __future__ import annotations

from mishards.core.ids import PartitionId, SegmentId
from mishards.writer.compaction_policy import (
    CompactionLimits,
    Reason,
    SegmentLoad,
    choose,
    choose_all,
)

LIMITS = CompactionLimits(target_rows=1600, target_bytes=160_000, fan=4, dead_share=0.2)


def load(
    number: int,
    rows: int,
    *,
    dead: int = 0,
    pending: int = 0,
    partition: int = 1,
    row_bytes: int = 100,
) -> SegmentLoad:
    return SegmentLoad(
        id=SegmentId(number),
        partition=PartitionId(partition),
        rows=rows,
        size_bytes=rows * row_bytes,
        dead=dead,
        pending=pending,
    )


def chosen(*loads: SegmentLoad) -> list[tuple[tuple[int, ...], Reason]]:
    return [(one.inputs, one.reason) for one in choose(loads, LIMITS)]


def test_fewer_than_a_fan_of_small_segments_stay() -> None:
    assert chosen(*(load(n, 100) for n in range(3))) == []


def test_a_fan_of_small_segments_is_merged() -> None:
    assert chosen(*(load(n, 100) for n in range(4))) == [((0, 1, 2, 3), Reason.SMALL)]


def test_segments_of_different_tiers_are_not_merged() -> None:
    assert chosen(load(1, 300), load(2, 300), load(3, 50), load(4, 50)) == []


def test_a_merge_keeps_to_the_target_in_bytes_too() -> None:
    loads = [load(n, 100, row_bytes=500) for n in range(4)]
    assert chosen(*loads) == [((0, 1, 2), Reason.SMALL)]


def test_partitions_are_never_mixed() -> None:
    assert chosen(*(load(n, 100, partition=n % 2) for n in range(6))) == []
    found = choose([load(n, 100, partition=n % 2) for n in range(8)], LIMITS)
    assert [(one.partition, one.inputs) for one in found] == [(0, (0, 2, 4, 6)), (1, (1, 3, 5, 7))]


def test_a_full_segment_stays_until_many_of_its_rows_are_deleted() -> None:
    assert chosen(load(1, 1000, dead=199)) == []
    assert chosen(load(1, 1000, dead=200)) == [((1,), Reason.DELETED)]


def test_what_is_all_deleted_goes_first() -> None:
    loads = [load(1, 1000, dead=500), load(2, 100, dead=100), *(load(n, 100) for n in range(3, 7))]
    assert chosen(*loads) == [
        ((2,), Reason.EMPTY),
        ((1,), Reason.DELETED),
        ((3, 4, 5, 6), Reason.SMALL),
    ]


def test_few_deleted_rows_are_rewritten_when_as_many_deletes_are_kept_for_them() -> None:
    rare = load(1, 1001, dead=1, pending=999)
    assert chosen(rare) == []
    assert chosen(load(1, 1001, dead=1, pending=1000)) == [((1,), Reason.PENDING)]
    assert chosen(load(1, 1001, dead=1, pending=1000), load(2, 1000, dead=1)) == []


def test_the_order_of_what_is_given_does_not_matter() -> None:
    loads = [load(n, 100 + n, dead=n % 3, partition=n % 2) for n in range(20)]
    assert choose(loads, LIMITS) == choose(loads[::-1], LIMITS)


def test_all_that_can_be_gained() -> None:
    loads = [load(1, 1000), load(2, 1000, dead=1), load(3, 300), load(4, 10), load(5, 10)]
    found = [one.inputs for one in choose_all(loads, LIMITS)]
    assert found == [(2, 3, 4, 5)]
    found = [one.inputs for one in choose_all(loads, LIMITS, deletes_only=True)]
    assert found == [(2,)]
    assert choose_all([load(1, 1000), load(2, 10)], LIMITS) == []
