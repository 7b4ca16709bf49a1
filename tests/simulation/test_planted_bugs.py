"""Each planted bug is found within a bounded number of seeds."""

from __future__ import annotations

from concurrent.futures import Executor, Future

import pytest

from mishards.testing.planted import PLANTED
from mishards.testing.seeds import first_found

pytestmark = pytest.mark.timeout(600)  # of what is queued for all processors

_MOST_SEEDS = 40

Found = tuple[int, tuple[str, ...]] | None


@pytest.fixture(scope="module")
def found(pool: Executor) -> dict[str, Future[Found]]:
    """The search for every bug, begun at once."""
    return {name: pool.submit(first_found, name, _MOST_SEEDS) for name in PLANTED}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_found(name: str, found: dict[str, Future[Found]]) -> None:
    assert found[name].result() is not None, f"{_MOST_SEEDS} seeds do not show it"
