"""One run of an operation for all who asked before it began."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class Coalescer:
    """Joins concurrent wishes for the same operation.

    Invariants: runs never overlap; a caller returns after a run that began after its call and
    succeeded, or raises what the run it made itself raised.
    """

    def __init__(self, work: Callable[[], Awaitable[None]]) -> None:
        self._work = work
        self._lock = asyncio.Lock()
        self._begun = 0
        self._succeeded = 0

    async def run(self) -> None:
        asked = self._begun
        async with self._lock:
            if self._succeeded > asked:
                return
            self._begun += 1
            await self._work()
            self._succeeded = self._begun
