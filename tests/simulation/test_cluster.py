"""Whole clusters in virtual time: whatever goes wrong under a seed, the invariants hold."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mishards.cluster.publishing import LogPublisher
from mishards.log.entry import encode_entry
from mishards.proxy.consistency import ConsistencyClock, Moment
from mishards.proxy.scatter import Gathered, Scatter
from mishards.reader.collection import CollectionState
from mishards.segments.read import Segment
from mishards.testing.simulation import simulate
from mishards.writer import merging
from mishards.writer.commit import GroupCommit
from mishards.writer.leading import Leading
from mishards.writer.tokens import TokenWindow
from mishards.writer.trim import LogEnds, LogTrimmer

MOST_SEEDS = 48


def test_invariants_hold_under_faults(seed: int, tmp_path: Path) -> None:
    outcome = simulate(seed, tmp_path)
    if outcome.violations:
        report = outcome.described()
        pytest.fail(
            f"seed {seed} breaks an invariant; again with: "
            f"pytest tests/simulation --seed {seed}\n{report}"
        )
    assert list(tmp_path.iterdir()) == []
    succeeded = [one for one in outcome.history.operations if one.outcome == "ok"]
    assert len(succeeded) > 20, "most calls failed: the run shows little"


def test_a_seed_always_gives_the_same_history(tmp_path: Path) -> None:
    first = simulate(3, tmp_path, duration_s=5.0)
    second = simulate(3, tmp_path, duration_s=5.0)
    assert list(first.history.lines()) == list(second.history.lines())
    assert first.history.digest() == second.history.digest()


def test_a_seed_gives_the_same_history_in_another_process(tmp_path: Path) -> None:
    code = (
        "import logging, sys, pathlib; logging.disable(logging.CRITICAL)\n"
        "from mishards.testing.simulation import simulate\n"
        "outcome = simulate(4, pathlib.Path(sys.argv[1]), duration_s=5.0)\n"
        "print(outcome.history.digest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)],
            env={**os.environ, "PYTHONHASHSEED": salt},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for salt in ("1", "2")
    }
    assert len(digests) == 1


def test_different_seeds_differ(tmp_path: Path) -> None:
    digests = {simulate(seed, tmp_path, duration_s=1.0).history.digest() for seed in range(3)}
    assert len(digests) == 3


# --- planted bugs: the simulation is worth nothing unless it finds them -----------------------


def plant_early_acknowledgement(monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer answers while the entry is still being written."""

    async def store(self: Any, entry: Any) -> Any:
        import asyncio

        async def later() -> None:
            await asyncio.sleep(0.005)
            await self._log.append(entry)

        asyncio.ensure_future(later()).add_done_callback(
            lambda task: task.cancelled() or task.exception()
        )
        return entry, encode_entry(entry)

    monkeypatch.setattr(GroupCommit, "_store", store)


def plant_forgotten_delete(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader applies deletes to growing rows, not to open segments."""

    def delete(self: Any, delete: Any) -> None:
        self.deletes.add(delete)
        self.rows.delete(delete.keys.to_pylist(), delete.timestamp, delete.partition)

    monkeypatch.setattr(CollectionState, "_delete", delete)


def plant_dropped_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy leaves out what a reader failed on."""

    async def retry(self: Any, causes: Any, others: Any) -> Any:
        return Gathered([], {})

    monkeypatch.setattr(Scatter, "_retry", retry)


def plant_stale_strong_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy takes what it knows of the log for all there is."""

    async def moment(
        self: Any, log_id: Any, level: Any, guarantee_ts: Any, timeout_s: float
    ) -> Moment:
        return Moment(max(self._state.log(log_id).timestamp, guarantee_ts))

    monkeypatch.setattr(ConsistencyClock, "moment", moment)


def plant_forgotten_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer does not know a retry from a new call."""
    monkeypatch.setattr(TokenWindow, "get", lambda self, token: None)


def plant_hasty_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The leader says that time went on while mutations are still on their way to the log."""
    monkeypatch.setattr(GroupCommit, "is_idle", True)


def plant_lost_push(monkeypatch: pytest.MonkeyPatch) -> None:
    """Metadata changes are not told to followers that listen to the stream."""
    monkeypatch.setattr(LogPublisher, "publish_changes", lambda self, changes: None)


def plant_early_trimming(monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries are trimmed before what they hold is sealed."""
    ends = Leading._log_ends

    def early(self: Any) -> LogEnds:
        found = ends(self)
        return LogEnds(replay_from=found.keep_from, keep_from=found.keep_from, last=found.last)

    monkeypatch.setattr(Leading, "_log_ends", early)


def plant_trimmed_fences(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trimming takes the entries on which leaders of before would run aground."""
    remove = LogTrimmer._remove

    async def remove_all(self: Any, trimmed: Any) -> int:
        await self._log.remove(await self._log.held_before(trimmed))
        return await remove(self, trimmed)

    monkeypatch.setattr(LogTrimmer, "_remove", remove_all)


def plant_kept_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compaction takes deletes for folded in whose rows it keeps."""

    def hidden(segment: Segment, keys: Any, timestamps: Any) -> Any:
        return np.zeros(segment.rows, dtype=np.bool_)

    monkeypatch.setattr(merging, "hidden_rows", hidden)


@pytest.mark.parametrize(
    ("plant", "invariants"),
    [
        (plant_early_acknowledgement, {"I1"}),
        (plant_forgotten_delete, {"I2", "I4"}),
        (plant_dropped_unit, {"I4"}),
        (plant_stale_strong_read, {"I3", "I4", "I2"}),
        (plant_forgotten_tokens, {"I1"}),
        (plant_hasty_tick, {"I2", "I3", "I4"}),
        (plant_kept_rows, {"I2", "I4"}),
        (plant_lost_push, {"I10", "I7", "healing"}),
        (plant_early_trimming, {"I1", "I4"}),
        (plant_trimmed_fences, {"I5"}),
    ],
    ids=lambda value: value.__name__.removeprefix("plant_") if callable(value) else "",
)
def test_planted_bugs_are_found(
    plant: Callable[[pytest.MonkeyPatch], None],
    invariants: set[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    plant(monkeypatch)
    for seed in range(MOST_SEEDS):
        found = simulate(seed, tmp_path).violations
        if any(violation.invariant in invariants for violation in found):
            return
    pytest.fail(f"{MOST_SEEDS} seeds do not show the bug")
