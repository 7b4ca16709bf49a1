"""Compaction by the policy ends, picks nothing twice, and writes and keeps no more than stated,
whatever is flushed and deleted."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mishards.testing.compaction_loads import LOADS, Load, simulate
from mishards.testing.compaction_model import CompactionModel
from mishards.writer.compaction_policy import CompactionLimits

_LEAST = 8
LIMITS = CompactionLimits(target_rows=_LEAST * 64, target_bytes=_LEAST * 64)
_TIERS = 4
"""From flushes of a 64th of the target up: 1/64, 1/16, 1/4, 1."""

keys = st.lists(st.integers(0, 600), min_size=_LEAST, max_size=120)
batches = st.lists(st.tuples(keys, st.one_of(st.just([]), keys)), min_size=1, max_size=60)


def bound(model: CompactionModel, limits: CompactionLimits) -> float:
    """Rows that may be written: each once per tier, and for each deleted row those beside it,
    once for the rewrite and once for the tier that they may fall back to; and as many as there
    were deletes, to be rid of the files."""
    beside = 2 * (1 - limits.dead_share) / limits.dead_share
    flushed = model.flushed_rows
    return (1 + _TIERS) * flushed + beside * model.deleted_rows + model.delete_rows


@settings(max_examples=60)
@given(batches)
def test_bounds_hold_for_any_load(found: list[tuple[list[int], list[int]]]) -> None:
    model = CompactionModel(LIMITS)
    for upserts, deletes in found:
        model.flush(upserts, [key for key in deletes if key not in upserts])
        model.compact()
        written = model.flushed_rows + model.compacted_rows
        assert written <= bound(model, LIMITS)
        assert model.worst_space <= 1 / (1 - LIMITS.dead_share)


@settings(max_examples=20)
@given(st.sampled_from(LOADS))
def test_named_loads_keep_to_their_figures(load: Load) -> None:
    model = simulate(load, 150, CompactionLimits(target_rows=4000, target_bytes=4000))
    assert model.write_amplification <= 6.0
    assert model.worst_space <= 1.25
    live = sum(len(segment.live) for segment in model.segments.values())
    # Fewer than four of each of five sizes, and full ones of more than half the target.
    assert len(model.segments) <= 5 * 3 + live / 2000 + 1
