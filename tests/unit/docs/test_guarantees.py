"""What the page of guarantees says to be shown is shown by tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[2]
PAGE = (TESTS.parent / "docs" / "guarantees.md").read_text()
NAMED = sorted(set(re.findall(r"`([a-z0-9_/]+\.py)(?:::(test_\w+))?`", PAGE)))


def test_the_page_names_tests() -> None:
    assert len(NAMED) > 30


@pytest.mark.parametrize(("file", "function"), NAMED)
def test_the_tests_that_the_page_names_exist(file: str, function: str) -> None:
    path = TESTS / file
    assert path.is_file(), file
    if function:
        assert re.search(rf"^def {function}\(", path.read_text(), re.MULTILINE), function


def test_every_fault_has_a_row() -> None:
    rows = re.findall(r"^\| R(\d+) \|", PAGE, re.MULTILINE)
    assert rows == [str(number) for number in range(1, 33)]
