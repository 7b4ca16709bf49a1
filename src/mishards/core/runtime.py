"""The only source of time, chance, threads and background tasks.

Every role is handed a `Runtime`. In production it is `SystemRuntime`; in the simulation a virtual
one, in which time passes only when all tasks wait and blocking work runs in place.

Invariant: no other module of the core calls `time`, `random` or `asyncio.sleep`.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Runtime(Protocol):
    """Time, chance and concurrency as the roles see them. All methods: from the loop's thread,
    but `now_ms`, `now_ns` and `monotonic_s`, which any thread may call."""

    random: random.Random

    def now_ms(self) -> int:
        """Unix time in milliseconds; may jump in either direction."""

    def now_ns(self) -> int:
        """As `now_ms`, in nanoseconds."""

    def monotonic_s(self) -> float:
        """Seconds since some start; never falls."""

    async def sleep(self, seconds: float) -> None:
        """Wait; cancellable."""

    async def blocking(self, work: Callable[..., T], /, *args: Any) -> T:
        """Run `work(*args)` off the loop (in place in the simulation) and give its result."""

    def apart(self, name: str) -> Runtime:
        """The same, with other threads for blocking work: what waits there for a service that
        does not answer holds up nobody else. It ends with this one."""

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Start a supervised background task: what it raises is logged, never lost."""

    async def timeout(self, work: Coroutine[Any, Any, T], seconds: float) -> T:
        """Await `work` for at most `seconds`.

        Raises:
            TimeoutError: when the time ran out; `work` is cancelled.
        """


class TaskSupervisor:
    """Keeps references to background tasks and reports how they ended."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("task %s ended with an error", task.get_name(), exc_info=error)

    async def close(self) -> None:
        """Cancel what still runs and wait for its end."""
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class SystemRuntime:
    """The machine's clock, chance and threads."""

    def __init__(self, *, seed: int | None = None, threads: int = 8) -> None:
        self.random = random.Random(seed)
        self._supervisor = TaskSupervisor()
        self._threads = threads
        self._executor = _threads(threads, "mishards")
        self._parts: list[RuntimeApart] = []

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    now_ns = staticmethod(time.time_ns)

    def monotonic_s(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def blocking(self, work: Callable[..., T], /, *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work, *args)

    def apart(self, name: str) -> Runtime:
        self._parts.append(RuntimeApart(self, _threads(self._threads, f"mishards-{name}")))
        return self._parts[-1]

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        return self._supervisor.spawn(work, name)

    async def timeout(self, work: Coroutine[Any, Any, T], seconds: float) -> T:
        async with asyncio.timeout(seconds):
            return await work

    async def close(self) -> None:
        """End all tasks and threads."""
        await self._supervisor.close()
        for executor in (self._executor, *(part.executor for part in self._parts)):
            executor.shutdown(wait=True, cancel_futures=True)


class RuntimeApart:
    """A runtime with an executor of its own for blocking work; all else is another runtime's."""

    def __init__(self, whole: Runtime, executor: Executor) -> None:
        self.random = whole.random
        self.executor = executor
        self._whole = whole

    def now_ms(self) -> int:
        return self._whole.now_ms()

    def now_ns(self) -> int:
        return self._whole.now_ns()

    def monotonic_s(self) -> float:
        return self._whole.monotonic_s()

    async def sleep(self, seconds: float) -> None:
        await self._whole.sleep(seconds)

    async def blocking(self, work: Callable[..., T], /, *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.executor, work, *args)

    def apart(self, name: str) -> Runtime:
        return self._whole.apart(name)

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        return self._whole.spawn(work, name)

    async def timeout(self, work: Coroutine[Any, Any, T], seconds: float) -> T:
        return await self._whole.timeout(work, seconds)


def _threads(count: int, name: str) -> Executor:
    """Threads that are started when they are needed."""
    return ThreadPoolExecutor(count, thread_name_prefix=name)
