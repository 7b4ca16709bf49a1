"""Bytes on their way: how fast they may go, who is told of them, and how many go at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

from mishards.core.runtime import Runtime

T = TypeVar("T")


class Flow:
    """Paces bytes and counts them. Used on the loop's thread."""

    def __init__(
        self,
        runtime: Runtime,
        rate_bytes_s: float = 0.0,
        on_bytes: Callable[[int], None] = lambda count: None,
    ) -> None:
        """`rate_bytes_s`: most bytes per second; 0 for no limit. `on_bytes` hears of all that
        went by."""
        self._runtime = runtime
        self._rate = rate_bytes_s
        self._on_bytes = on_bytes
        self._free_at_s = 0.0

    async def take(self, count: int) -> None:
        """Wait until `count` bytes may go, and count them."""
        if self._rate > 0:
            now_s = self._runtime.monotonic_s()
            starts_s = max(now_s, self._free_at_s)
            self._free_at_s = starts_s + count / self._rate
            if starts_s > now_s:
                await self._runtime.sleep(starts_s - now_s)
        self._on_bytes(count)

    def skip(self, count: int) -> None:
        """Count bytes that need not go, because they are there already."""
        self._on_bytes(count)


async def run_all(
    items: Iterable[T], work: Callable[[T], Coroutine[Any, Any, None]], at_once: int
) -> None:
    """Do `work` on each item, `at_once` at a time; the first error ends the rest and is raised."""
    waiting = iter(items)

    async def work_off() -> None:
        for item in waiting:
            await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(work_off())
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
