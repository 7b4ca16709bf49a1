"""A reader fed by hand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from mishards.testing.reader_bench import Bench, run_bench


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., None]:
    """Runs `test(bench)` with a bench whose reader is closed afterwards."""

    def runner(test: Callable[[Bench], Awaitable[None]], **options: Any) -> None:
        run_bench(tmp_path, test, **options)

    return runner
