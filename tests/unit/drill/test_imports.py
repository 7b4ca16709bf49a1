"""A drill needs what Mishards needs, and a node needs nothing of drills' clients."""

from __future__ import annotations

import subprocess
import sys

import pytest

TESTS_ALONE = {"hypothesis", "pytest", "_pytest", "psutil", "trustme", "yaml"}


@pytest.mark.parametrize(
    ("module", "without"),
    [
        ("mishards.drill.run", TESTS_ALONE),
        ("mishards.cli.main", {*TESTS_ALONE, "pymilvus", "mishards.testing", "mishards.drill"}),
    ],
)
def test_what_is_imported(module: str, without: set[str]) -> None:
    code = f"import sys, {module}; print('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100
    )
    loaded = set(done.stdout.split())
    assert module in loaded
    assert not loaded & without
