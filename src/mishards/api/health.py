"""Whether this node serves, as balancers and orchestrators ask for it and are told.

Invariants: it speaks of this node alone, never of its peers, so that the loss of one writer does
not take every proxy out of a balancer at once. Whoever watches is told of every lasting change.
Used on the loop's thread only.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from mishards.core.runtime import Runtime

STARTING = "starting"
DRAINING = "draining: it was told to stop"


class Health:
    """What a node says of itself; begins as not serving."""

    def __init__(self, runtime: Runtime, reason: str = STARTING) -> None:
        self._runtime = runtime
        self._reason = reason
        self._watchers: set[asyncio.Event] = set()
        self._asked_s: float | None = None

    @property
    def reason(self) -> str:
        """Why it does not serve; empty when it does."""
        return self._reason

    @property
    def serves(self) -> bool:
        return not self._reason

    def serve(self) -> None:
        """It serves from now on."""
        self._change("")

    def refuse(self, reason: str) -> None:
        """It does not serve from now on, for a reason."""
        self._change(reason)

    def _change(self, reason: str) -> None:
        self._reason = reason
        for watcher in self._watchers:
            watcher.set()

    def ask(self) -> str:
        """`reason`, for a check from outside, which is remembered."""
        self._asked_s = self._runtime.monotonic_s()
        return self._reason

    def asked_within(self, seconds: float) -> bool:
        """Whether somebody outside watches, or asked not longer than that ago."""
        if self._watchers:
            return True
        now_s = self._runtime.monotonic_s()
        return self._asked_s is not None and now_s - self._asked_s <= seconds

    async def watch(self) -> AsyncGenerator[bool]:
        """Whether it serves: now, and again at every change that lasts until it is told."""
        changed = asyncio.Event()
        self._watchers.add(changed)
        told: bool | None = None
        try:
            while True:
                changed.clear()
                if told is not self.serves:
                    told = self.serves
                    yield told
                await changed.wait()
        finally:
            self._watchers.discard(changed)
