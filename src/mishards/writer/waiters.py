"""Those who wait until the log has come to a timestamp. Used on the loop's thread only."""

from __future__ import annotations

import asyncio

from mishards.core.errors import MishardsError
from mishards.core.ids import Timestamp


class TimestampWaiters:
    """Futures, each with the timestamp it waits for; false when nobody waits."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Timestamp, asyncio.Future[None]]] = []

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def wait(self, timestamp: Timestamp) -> asyncio.Future[None]:
        """Done once `resolve` was called with `timestamp` or a later one."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((timestamp, waiter))
        return waiter

    def resolve(self, timestamp: Timestamp) -> None:
        """Answer all who wait for `timestamp` or an earlier one."""
        waiting, self._waiting = self._waiting, []
        for wanted, waiter in waiting:
            if waiter.done():
                continue
            if wanted <= timestamp:
                waiter.set_result(None)
            else:
                self._waiting.append((wanted, waiter))

    def refuse_all(self, error: MishardsError) -> None:
        waiting, self._waiting = self._waiting, []
        for _, waiter in waiting:
            if not waiter.done():
                waiter.set_exception(type(error)(error.message))
