"""Virtual time: an event loop whose clock moves only when every task waits, and a `Runtime` on it.

Invariants: no call ever sleeps on the machine's clock; the same program under the same seed takes
the same steps. A loop on which nothing can ever happen again ends with `Deadlock`.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import random
import selectors
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

from mishards.testing.processes import CURRENT, current_process

T = TypeVar("T")

EPOCH_MS = 1_700_000_000_000
"""The wall clock of every node when virtual time begins."""


class Deadlock(RuntimeError):
    """Every task waits, and no timer is set."""


class _InstantSelector(selectors.BaseSelector):
    """Instead of waiting for files, moves the clock on; files are never ready."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = selectors.SelectorKey(fileobj, 0, events, data)
        self._keys[fileobj] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Deadlock("every task waits, and no timer is set")
        self.now_s += max(timeout, 0.0)
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys


class _Step(asyncio.Handle):
    """A step of whoever asked for it: of a process that may stand still, or die of it."""

    __slots__ = ()

    def _run(self) -> None:
        process = self._context.get(CURRENT)  # type: ignore[attr-defined]
        if process is None or not process.watched or process.may_step(self):
            super()._run()


class _Timer(asyncio.TimerHandle):
    """As `_Step`, at a time."""

    __slots__ = ()

    def _run(self) -> None:
        process = self._context.get(CURRENT)  # type: ignore[attr-defined]
        if process is None or not process.watched or process.may_step(self):
            super()._run()


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time. Every task belongs to the process it was started in."""

    _ready: Any
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self) -> None:
        self._instant = _InstantSelector()
        super().__init__(self._instant)
        self.set_task_factory(_make_task)

    def time(self) -> float:
        return self._instant.now_s

    def call_soon(  # type: ignore[override]
        self, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        handle = _Step(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        timer = _Timer(when, callback, args, self, context)
        heapq.heappush(self._scheduled, timer)
        timer._scheduled = True  # type: ignore[attr-defined]
        return timer


def _make_task(
    loop: asyncio.AbstractEventLoop, work: Any, *, context: contextvars.Context | None = None
) -> asyncio.Task[Any]:
    task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, context=context)
    process = current_process(context)
    if process is not None:
        process.adopt(task)
    return task


def run_virtual(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end on a loop of its own, as `asyncio.run` does."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


class VirtualRuntime:
    """One node's clock, chance and tasks; see `core.runtime.Runtime`.

    Attributes:
        clock_offset_ms: how far the wall clock is off; set it to let the clock jump.
        failures: what background tasks raised, with the task's name.
    """

    def __init__(self, seed: str, *, blocking_s: float = 0.0) -> None:
        """`blocking_s`: longest virtual time that blocking work takes, by chance."""
        self.random = random.Random(seed)
        self.clock_offset_ms = 0
        self.failures: list[tuple[str, BaseException]] = []
        # Chance of its own, so that the code under test sees the same numbers with any delays.
        self._delays = random.Random(f"{seed}/blocking")
        self._blocking_s = blocking_s
        self._tasks: dict[asyncio.Task[Any], None] = {}

    def now_ms(self) -> int:
        return EPOCH_MS + int(asyncio.get_running_loop().time() * 1000) + self.clock_offset_ms

    def now_ns(self) -> int:
        passed_ns = int(asyncio.get_running_loop().time() * 1e9)
        return (EPOCH_MS + self.clock_offset_ms) * 1_000_000 + passed_ns

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def blocking(self, work: Callable[..., T], /, *args: Any) -> T:
        if self._blocking_s:
            await asyncio.sleep(self._delays.uniform(0, self._blocking_s))
        return work(*args)

    def apart(self, name: str) -> VirtualRuntime:
        return self

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks[task] = None
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        del self._tasks[task]
        if task.cancelled() or (error := task.exception()) is None:
            return
        process = current_process()
        if process is None or process.alive:  # what unwinds after a kill proves nothing
            self.failures.append((task.get_name(), error))

    async def timeout(self, work: Coroutine[Any, Any, T], seconds: float) -> T:
        async with asyncio.timeout(seconds):
            return await work
