"""Readers that were cut off from everything until their place in the log was trimmed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from mishards.cluster.following import LogFollower
from mishards.testing.faults import Faults
from mishards.testing.simulation import simulate

FIRST_SEED = 4
SEEDS = range(FIRST_SEED, FIRST_SEED + 2)
DURATION_S = 14.5
AWAY_S = 8.0


@pytest.fixture(autouse=True)
def again(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A reader is away for most of a run; gives the entries at which readers began again."""
    places: list[int] = []
    begin_again = LogFollower._begin_again

    async def counted(self: LogFollower, missing: Any) -> None:
        await begin_again(self, missing)
        places.append(self.next_seq)

    async def away(self: Any, until_s: float) -> None:
        cluster = self._cluster
        host = self._random.choice(cluster.with_role("reader"))
        others = [name for name in cluster.hosts if name != host.name]
        await asyncio.sleep(5.0)
        if host.running is None:
            return
        host.running.storage.stall()
        for service in (host.running.metadata, host.running.registry):
            service.failing = 1.0
        links = [cluster.network.link(*ends) for o in others for ends in _both(host.name, o)]
        for link in links:
            link.cut = True
        await asyncio.sleep(AWAY_S)
        cluster.heal()
        await asyncio.sleep(until_s - asyncio.get_running_loop().time())

    monkeypatch.setattr(LogFollower, "_begin_again", counted)
    monkeypatch.setattr(Faults, "run", away)
    return places


def _both(one: str, other: str) -> list[tuple[str, str]]:
    return [(one, other), (other, one)]


def test_they_go_on_from_what_is_sealed(tmp_path: Path, again: list[int]) -> None:
    for seed in SEEDS:
        outcome = simulate(seed, tmp_path, duration_s=DURATION_S)
        assert not outcome.violations, outcome.described()
    assert again, "no reader's place was trimmed: the runs show nothing"
