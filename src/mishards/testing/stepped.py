"""A runtime whose clock stands until the test moves it.

For what depends on the passing of time alone: expiry, silence, back-off. Only `sleep` and the two
clocks are stepped; deadlines of calls stay real.
"""

from __future__ import annotations

import asyncio

from mishards.core.runtime import SystemRuntime


class SteppedRuntime(SystemRuntime):
    """See the module. `clock_error_ms` is how far this node's wall clock is off."""

    def __init__(self, *, clock_error_ms: int = 0) -> None:
        super().__init__(seed=1, threads=2)
        self.clock_error_ms = clock_error_ms
        self._passed_s = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    @property
    def sleepers(self) -> int:
        """How many wait for time to pass."""
        return len(self._sleepers)

    def now_ms(self) -> int:
        return 1_700_000_000_000 + self.clock_error_ms + round(self._passed_s * 1000)

    def now_ns(self) -> int:
        return self.now_ms() * 1_000_000

    def monotonic_s(self) -> float:
        return self._passed_s

    def advance(self, seconds: float) -> None:
        """Let time pass at once; sleepers whose time has come wake in their order."""
        self._passed_s += seconds
        due = sorted((s for s in self._sleepers if s[0] <= self._passed_s), key=lambda s: s[0])
        self._sleepers = [s for s in self._sleepers if s[0] > self._passed_s]
        for _, future in due:
            if not future.done():
                future.set_result(None)

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._passed_s + seconds, future))
        await future
