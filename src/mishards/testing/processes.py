"""Simulated processes: tasks that die together.

Invariants: a task belongs to the process of whoever started it; after `kill` no task of the
process takes another step that anybody else could see, and whoever waits for one of them learns
at once that the process is gone.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Coroutine
from typing import Any, TypeVar

from mishards.core.errors import Unavailable

T = TypeVar("T")

_current: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)
_MOST_STEPS = 10_000


def current_process(context: contextvars.Context | None = None) -> Process | None:
    """The process that the caller, or code in `context`, belongs to; None outside of all."""
    return _current.get() if context is None else context.get(_current)


async def first_of(*futures: asyncio.Future[Any]) -> None:
    """Return once one of them is done; cancelling this leaves them alone."""
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)


class Process:
    """A place to run tasks in. Made on the loop it runs on."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._loop = asyncio.get_running_loop()
        self._death: asyncio.Future[None] = self._loop.create_future()
        self._tasks: dict[asyncio.Task[Any], None] = {}

    @property
    def alive(self) -> bool:
        return not self._death.done()

    @property
    def death(self) -> asyncio.Future[None]:
        """Done once it was killed."""
        return self._death

    def adopt(self, task: asyncio.Task[Any]) -> None:
        """Let `task` die with this process."""
        self._tasks[task] = None
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)

    def check(self) -> None:
        """Called before each effect on the outside: a dead process has none."""
        if not self.alive:
            raise asyncio.CancelledError(f"{self.name} is dead")

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run `work` as a task of this process."""
        context = contextvars.copy_context()
        context.run(_current.set, self)
        return self._loop.create_task(work, context=context)

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` in this process on behalf of a caller outside of it.

        Raises:
            Unavailable: the process is dead, or died before the end of `work`.
        """
        if not self.alive:
            work.close()
            raise self.gone()
        task = self.start(work)
        try:
            await first_of(task, self._death)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if not self.alive or task.cancelled():
            task.cancel()
            raise self.gone()
        return task.result()

    def gone(self) -> Unavailable:
        return Unavailable(f"{self.name} is gone")

    def kill(self) -> None:
        """End it at once, as `kill -9` would."""
        if self.alive:
            self._death.set_result(None)
        for task in list(self._tasks):
            task.cancel()

    async def ended(self) -> None:
        """Kill it, and wait until its tasks have unwound."""
        self.kill()
        for _ in range(_MOST_STEPS):
            if not self._tasks:
                return
            for task in list(self._tasks):
                task.cancel()
            await asyncio.sleep(0)
        names = sorted(task.get_name() for task in self._tasks)
        raise AssertionError(f"tasks of {self.name} do not end when cancelled: {names}")
