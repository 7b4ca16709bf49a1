"""Seeds of the simulated clusters, and processes to simulate them in."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import Executor, Future

import pytest

from mishards.testing.seeds import SeedResult, run_seed, workers


def _seeds(config: pytest.Config) -> list[int]:
    alone = config.getoption("--seed")
    return list(range(config.getoption("--seeds"))) if alone is None else [alone]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", _seeds(metafunc.config))


@pytest.fixture(scope="session")
def pool() -> Iterator[Executor]:
    """A process for each processor."""
    with workers() as executor:
        yield executor


@pytest.fixture(scope="session")
def results(pool: Executor, pytestconfig: pytest.Config) -> dict[int, Future[SeedResult]]:
    """All seeds, begun at once in their order."""
    return {seed: pool.submit(run_seed, seed) for seed in _seeds(pytestconfig)}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Simulated nodes have much to complain about, and formatting it takes time."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)
