"""Simulated processes: tasks that die together, and stand still together.

Invariants: a task belongs to the process of whoever started it; after `kill` no task of the
process takes another step that anybody else could see, and whoever waits for one of them learns
at once that the process is gone. While it is frozen none of its tasks, timers and callbacks runs,
and nobody is told; what came due meanwhile runs in its order once it is thawed.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from mishards.core.errors import Unavailable

T = TypeVar("T")

CURRENT: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)
"""The process that a context belongs to."""
OUTSIDE = contextvars.Context()
"""For what happens whatever becomes of the process that brought it about, as the arrival of a
message that is on its way."""
_MOST_STEPS = 10_000


def current_process(context: contextvars.Context | None = None) -> Process | None:
    """The process that the caller, or code in `context`, belongs to; None outside of all."""
    return CURRENT.get() if context is None else context.get(CURRENT)


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
        self._parked: list[asyncio.Handle] = []
        self._frozen = False
        self._steps_left = 0
        self.watched = False
        """Whether `may_step` has to be asked before each step."""
        self.stood_still_s = -1.0
        """Until when it last was frozen, in virtual time; negative when it never was."""
        self.failpoint: Callable[[Process, str], None] | None = None
        """Told of each durable step, as `before <step>` and `after <step>`; may `kill`."""
        self.context = contextvars.copy_context()
        """What runs in it belongs to the process."""
        self.context.run(CURRENT.set, self)

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
        task.add_done_callback(self._forget, context=OUTSIDE)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)

    def check(self) -> None:
        """Called before each effect on the outside: a dead process has none."""
        if not self.alive:
            raise asyncio.CancelledError(f"{self.name} is dead")

    def reach(self, point: str) -> None:
        """Pass a failpoint, or die there."""
        if self.failpoint is not None:
            self.failpoint(self, point)
        self.check()

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run `work` as a task of this process."""
        context = contextvars.copy_context()
        context.run(CURRENT.set, self)
        return self._loop.create_task(work, context=context)

    # --- what may go wrong with it ----------------------------------------------------------

    def doom(self, steps: int) -> None:
        """Let it die instead of its `steps`-th step from now: at whatever await that is."""
        self._steps_left = steps
        self.watched = True

    def spare(self) -> None:
        """Let it live, however many steps it had left."""
        self._steps_left = 0
        self.watched = self._frozen

    @property
    def frozen(self) -> bool:
        return self._frozen

    def freeze(self) -> None:
        """Stand still from now on, as by SIGSTOP."""
        self._frozen = self.watched = self.alive

    def thaw(self) -> None:
        """Go on, first with what came due meanwhile."""
        if not self._frozen:
            return
        self._frozen = False
        self.watched = self._steps_left > 0
        self.stood_still_s = self._loop.time()
        parked, self._parked = self._parked, []
        self._loop._ready.extend(parked)  # type: ignore[attr-defined]

    def may_step(self, handle: asyncio.Handle) -> bool:
        """Whether `handle` may run now; one that may not is kept for later. Asked while
        `watched`."""
        if self._frozen:
            self._parked.append(handle)
            return False
        if self._steps_left > 0:
            self._steps_left -= 1
            if not self._steps_left:
                self.watched = False
                self.kill()  # the step then finds its task cancelled
        return True

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
        self.thaw()
        self.watched, self._steps_left = False, 0
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
