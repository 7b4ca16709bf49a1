"""Options of the test suite."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("simulation")
    group.addoption("--seeds", type=int, default=10, help="simulate the seeds below this number")
    group.addoption("--seed", type=int, default=None, help="simulate this seed alone")
