"""Whole clusters in virtual time: whatever goes wrong under a seed, the invariants hold."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import Future
from pathlib import Path

import pytest

from mishards.testing.seeds import SeedResult, again
from mishards.testing.simulation import simulate

_LEAST_CALLS = 15


def test_invariants_hold_under_faults(seed: int, results: dict[int, Future[SeedResult]]) -> None:
    result = results[seed].result()
    if result.broken:
        head = f"seed {seed} breaks {', '.join(result.broken)}; again with: {again(seed)}"
        pytest.fail(f"{head}\n{result.report}", pytrace=False)
    assert result.left == (), "files are left"
    assert result.succeeded > _LEAST_CALLS, "most calls failed: the run shows little"


def test_a_seed_always_gives_the_same_history(tmp_path: Path) -> None:
    first = simulate(3, tmp_path, duration_s=2.0)
    second = simulate(3, tmp_path, duration_s=2.0)
    assert list(first.history.lines()) == list(second.history.lines())
    assert first.history.digest() == second.history.digest()


def test_a_seed_gives_the_same_history_in_another_process(tmp_path: Path) -> None:
    code = (
        "import logging, sys, pathlib; logging.disable(logging.CRITICAL)\n"
        "from mishards.testing.simulation import simulate\n"
        "outcome = simulate(4, pathlib.Path(sys.argv[1]), duration_s=2.0)\n"
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


pytestmark = pytest.mark.timeout(600)  # of what is queued for all processors


def test_different_seeds_differ(tmp_path: Path) -> None:
    digests = {simulate(seed, tmp_path, duration_s=0.5).history.digest() for seed in range(3)}
    assert len(digests) == 3
