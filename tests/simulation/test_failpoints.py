"""A crash at every durable step of a busy cluster, before and after it: R16."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import Executor, Future

import pytest

from mishards.testing.failpoints import STEPS
from mishards.testing.seeds import crash_at, surveyed

pytestmark = pytest.mark.timeout(600)  # of what is queued for all processors

POINTS = [f"{when} {step}" for step in STEPS for when in ("before", "after")]


@pytest.fixture(scope="module")
def passed(pool: Executor) -> Counter[str]:
    """How often a run without a crash passes each point."""
    return pool.submit(surveyed).result()


@pytest.fixture(scope="module")
def crashes(pool: Executor, passed: Counter[str]) -> dict[str, Future[tuple[bool, str]]]:
    """A crash in the middle of all times at each point, all begun at once."""
    return {point: pool.submit(crash_at, point, max(1, passed[point] // 2)) for point in POINTS}


def test_all_durable_steps_are_known(passed: Counter[str]) -> None:
    found = {point.partition(" ")[2] for point in passed}
    assert sorted(found - set(STEPS)) == [], "new steps: name them in testing.failpoints.STEPS"
    assert sorted(set(STEPS) - found) == [], "steps that the script does not take any more"


@pytest.mark.parametrize("point", POINTS)
def test_a_crash_breaks_nothing(point: str, crashes: dict[str, Future[tuple[bool, str]]]) -> None:
    happened, report = crashes[point].result()
    assert not report, report
    assert happened, "the run did not come to this point"
