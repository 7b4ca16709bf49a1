"""A cluster of separate processes on one machine: started together, restarted, ended together.

Invariant: when `run` returns, or its process dies, no child is left running.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from mishards.core.runtime import Runtime

_log = logging.getLogger(__name__)
_PR_SET_PDEATHSIG = 1
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0
_STEADY_S = 10.0
_LONGEST_PATH = 100
"""Bytes of a Unix socket's path that every system takes."""


class ChildPlan(msgspec.Struct, frozen=True):
    """One process: a role's subcommand and its options."""

    name: str
    arguments: tuple[str, ...]


def cluster_plan(
    writers: int, readers: int, options: Sequence[str], port: int, sockets: Path
) -> tuple[ChildPlan, ...]:
    """So many writers and readers, and one proxy, which reach each other by Unix sockets.

    Where the folder's path is too long for those, by TCP on the loopback.

    Args:
        options: given to every process.
        port: of the proxy's Milvus API.
        sockets: folder for the sockets.
    """

    def child(name: str, role: str, *own: str) -> ChildPlan:
        path = f"{sockets / name}.sock"
        listen = ("--listen", f"unix://{path}") if len(os.fsencode(path)) < _LONGEST_PATH else ()
        return ChildPlan(name, (role, *listen, *options, *own))

    # The proxy has the HTTP port that is set, the others free ones.
    own_http = ("--set", "http.port=0")
    return (
        *(child(name, "writer", *own_http) for name in _names("writer", writers)),
        *(child(f"reader-{n + 1}", "reader", *own_http) for n in range(readers)),
        child("proxy", "proxy", "--port", str(port)),
    )


def _names(role: str, count: int) -> list[str]:
    """One that is alone needs no number."""
    return [role] if count == 1 else [f"{role}-{n + 1}" for n in range(count)]


class Supervisor:
    """Keeps one process per plan alive until it is told to stop."""

    def __init__(
        self, runtime: Runtime, plans: Sequence[ChildPlan], environ: Mapping[str, str]
    ) -> None:
        self._runtime = runtime
        self._plans = plans
        self._environ = dict(environ)
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._stopping = False

    async def run(self, stop: asyncio.Event, started: Callable[[], None]) -> None:
        """Run until `stop` is set, then end the children, proxies first."""
        tasks = [
            self._runtime.spawn(self._keep(plan), f"supervision of {plan.name}")
            for plan in self._plans
        ]
        started()
        try:
            await stop.wait()
        finally:
            self._stopping = True
            await self._end_all()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep(self, plan: ChildPlan) -> None:
        pause = _FIRST_PAUSE_S
        while not self._stopping:
            began = self._runtime.monotonic_s()
            process = await self._spawn(plan)
            code = await process.wait()
            if self._stopping:
                return
            if self._runtime.monotonic_s() - began > _STEADY_S:
                pause = _FIRST_PAUSE_S
            _log.warning("%s ended with %s; it is started again in %.1f s", plan.name, code, pause)
            await self._runtime.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    async def _spawn(self, plan: ChildPlan) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "mishards",
            *plan.arguments,
            env=self._environ,
            start_new_session=True,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,
        )
        self._processes[plan.name] = process
        return process

    async def _end_all(self) -> None:
        """SIGTERM, from the last plan to the first, each waited for."""
        for plan in reversed(self._plans):
            process = self._processes.get(plan.name)
            if process is not None and process.returncode is None:
                process.send_signal(signal.SIGTERM)
                await process.wait()


def _die_with_parent() -> None:
    """In the child, before it runs: the kernel ends it when the supervisor dies."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)
