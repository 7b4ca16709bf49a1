"""Running a node as the main thing a process does, until a signal ends it."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from mishards.core.errors import InternalError
from mishards.observability import logs
from mishards.server.config import Config, hidden_in
from mishards.server.lifecycle import RunningNode, running_node

_log = logging.getLogger(__name__)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """uvloop's where it is installed, else asyncio's."""
    try:
        import uvloop
    except ModuleNotFoundError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def run_to_end(main: Coroutine[Any, Any, None]) -> None:
    """Run `main` on a loop of its own."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(main)


def run_node(config: Config, roles: Sequence[str], started: Callable[[RunningNode], None]) -> None:
    """Serve until SIGTERM or SIGINT, then drain; returns when all is closed. A second signal
    spares the time in which new calls are still taken.

    Args:
        started: called once with the node that now serves.
    """
    logs.configure(config.cluster.log_level, hidden_in(config))
    run_to_end(_serve(config, roles, started))


async def _serve(
    config: Config, roles: Sequence[str], started: Callable[[RunningNode], None]
) -> None:
    stop = asyncio.Event()
    begun: RunningNode | None = None
    task = asyncio.current_task()
    assert task is not None

    def end() -> None:
        if begun is None:
            task.cancel()
        elif stop.is_set():
            begun.hurried.set()
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    try:
        async with running_node(config, roles) as running:
            begun = running
            started(running)
            failed = running.node.failed
            failed.add_done_callback(lambda _: stop.set())
            await stop.wait()
            if failed.done():
                raise InternalError(
                    "the node can no longer follow or lead its log; its own log says why"
                )
    except asyncio.CancelledError:
        if not stop.is_set():
            raise
