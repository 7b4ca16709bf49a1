"""Loads of a partition, by name, for the model of compaction: what comes between two flushes.

Invariant: a load and its number of flushes say all; chance is seeded by the load's name.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from mishards.testing.compaction_model import CompactionModel
from mishards.writer.compaction_policy import CompactionLimits

Batch = tuple[list[int], list[int]]
"""Keys to upsert, and to delete, between two flushes."""
Load = Callable[[random.Random, int], Iterator[Batch]]

FLUSH_ROWS = 250


def steady(chance: random.Random, flushes: int) -> Iterator[Batch]:
    """New keys only."""
    for number in range(flushes):
        yield list(range(number * FLUSH_ROWS, (number + 1) * FLUSH_ROWS)), []


def trickle(chance: random.Random, flushes: int) -> Iterator[Batch]:
    """New keys only, a tenth of the rows per flush."""
    few = FLUSH_ROWS // 10
    for number in range(flushes):
        yield list(range(number * few, (number + 1) * few)), []


def hot(chance: random.Random, flushes: int) -> Iterator[Batch]:
    """Upserts of a hundredth of the keys, after all were inserted."""
    yield from steady(chance, flushes // 2)
    keys = flushes // 2 * FLUSH_ROWS
    for _ in range(flushes // 2):
        yield [chance.randrange(keys // 100) * 100 for _ in range(FLUSH_ROWS)], []


def uniform(chance: random.Random, flushes: int) -> Iterator[Batch]:
    """Upserts of any key, after all were inserted."""
    yield from steady(chance, flushes // 2)
    keys = flushes // 2 * FLUSH_ROWS
    for _ in range(flushes // 2):
        yield [chance.randrange(keys) for _ in range(FLUSH_ROWS)], []


def window(chance: random.Random, flushes: int) -> Iterator[Batch]:
    """Inserts, with the oldest keys deleted beyond a window."""
    kept = flushes // 4 * FLUSH_ROWS
    for number in range(flushes):
        start = number * FLUSH_ROWS
        old = range(max(0, start - kept), max(0, start + FLUSH_ROWS - kept))
        yield list(range(start, start + FLUSH_ROWS)), list(old)


def scattered(chance: random.Random, flushes: int) -> Iterator[Batch]:
    """Inserts, with deletes of half as many keys, any of them."""
    for number in range(flushes):
        start = number * FLUSH_ROWS
        gone = [chance.randrange(start + 1) for _ in range(FLUSH_ROWS // 2)]
        yield list(range(start, start + FLUSH_ROWS)), gone


def bursts(chance: random.Random, flushes: int) -> Iterator[Batch]:
    """New keys in flushes of 1 to 10 times the usual rows, by chance."""
    start = 0
    for _ in range(flushes // 5):
        count = int(FLUSH_ROWS * 10 ** chance.random())
        yield list(range(start, start + count)), []
        start += count


LOADS: tuple[Load, ...] = (steady, trickle, hot, uniform, window, scattered, bursts)


def simulate(load: Load, flushes: int, limits: CompactionLimits) -> CompactionModel:
    """Run a load, compacting after each flush."""
    model = CompactionModel(limits)
    for upserts, deletes in load(random.Random(f"{load.__name__}"), flushes):
        model.flush(upserts, deletes)
        model.compact()
    return model
