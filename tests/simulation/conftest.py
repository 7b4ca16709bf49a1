"""Seeds of the simulated clusters."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        alone = metafunc.config.getoption("--seed")
        seeds = range(metafunc.config.getoption("--seeds")) if alone is None else [alone]
        metafunc.parametrize("seed", seeds)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Simulated nodes have much to complain about, and formatting it takes time."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)
