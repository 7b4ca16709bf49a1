"""Waiting for a condition instead of for a number of seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

PATIENCE_S = 10.0


async def until(condition: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
    """Return once `condition()` is true; looks again after every turn of the loop.

    Raises:
        TimeoutError: it did not become true in time.
    """
    async with asyncio.timeout(patience_s):
        while not condition():  # noqa: ASYNC110 - any condition, not only those with an event
            await asyncio.sleep(0)
