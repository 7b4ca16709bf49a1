"""`mishards top`: a cluster from second to second, in the terminal."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live

from mishards.cli.options import ConfigFile, Data, Metadata, Settings, configuration
from mishards.cli.tables import console
from mishards.core.runtime import SystemRuntime
from mishards.server.config import Config
from mishards.top.frame import frame
from mishards.top.view import View, events_between, view_of
from mishards.top.watch import ClusterWatch

_THREADS = 16
_MOST_EVENTS = 50


def top(
    config: ConfigFile = None,
    data: Data = None,
    metadata: Metadata = None,
    once: Annotated[bool, typer.Option("--once", help="Print one frame and end.")] = False,
    interval: Annotated[
        float, typer.Option("--interval", help="Seconds between two looks.", min=0.1)
    ] = 2.0,
    set: Settings = None,
) -> None:
    """Show nodes, collections, leaders and events as they change; q ends it.

    Where the output goes to a file or a pipe, it is one frame.
    """
    loaded = configuration(
        config, data, set, cluster__metadata=metadata, cluster__log_level="error"
    )
    alone = once or not sys.stdout.isatty()
    left_behind = asyncio.run(_run(loaded.config, interval, once=alone))
    if left_behind:
        # A thread that waits for what stands still would hold the process up for ever.
        sys.stdout.flush()
        os._exit(0)


async def _run(config: Config, interval_s: float, *, once: bool) -> bool:
    runtime = SystemRuntime(threads=_THREADS)
    watch = ClusterWatch(config, runtime)
    try:
        if once:
            await _print_once(watch, interval_s)
        else:
            await _show(watch, interval_s)
    finally:
        await watch.close()
    if not watch.limits.left_behind:
        await runtime.close()
    return watch.limits.left_behind


async def _print_once(watch: ClusterWatch, interval_s: float) -> None:
    """Two looks, since rates are of the time between them."""
    before = await watch.look()
    await asyncio.sleep(interval_s)
    view = view_of(before, await watch.look())
    terminal = console()
    terminal.print(frame(view, (), terminal.width, None, _heading()))


async def _show(watch: ClusterWatch, interval_s: float) -> None:
    terminal = Console(highlight=False)
    quit_asked, resized = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGWINCH, resized.set)
    loop.add_signal_handler(signal.SIGINT, quit_asked.set)
    loop.add_signal_handler(signal.SIGTERM, quit_asked.set)
    events: list[str] = []
    with _keys(quit_asked), Live(console=terminal, screen=True, auto_refresh=False) as live:
        last, shown = await watch.look(), None
        while not quit_asked.is_set():
            now = await watch.look()
            view = view_of(last, now)
            if shown is not None:
                told = [f"{time.strftime('%H:%M:%S')}  {e}" for e in events_between(shown, view)]
                events = [*events, *told][-_MOST_EVENTS:]
            last, shown = now, view
            _draw(live, terminal, view, events)
            await _pause(quit_asked, resized, interval_s, live, terminal, view, events)


async def _pause(
    quit_asked: asyncio.Event,
    resized: asyncio.Event,
    interval_s: float,
    live: Live,
    terminal: Console,
    view: View,
    events: list[str],
) -> None:
    """Wait for the next look; draw anew where the terminal's size changes meanwhile."""
    end_s = time.monotonic() + interval_s
    while not quit_asked.is_set() and (left_s := end_s - time.monotonic()) > 0:
        waits = [asyncio.ensure_future(event.wait()) for event in (quit_asked, resized)]
        await asyncio.wait(waits, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if resized.is_set():
            resized.clear()
            _draw(live, terminal, view, events)


def _draw(live: Live, terminal: Console, view: View, events: list[str]) -> None:
    width, height = terminal.size
    live.update(frame(view, events, width, height, _heading()), refresh=True)


def _heading() -> str:
    return f"mishards {time.strftime('%H:%M:%S')}"


@contextmanager
def _keys(quit_asked: asyncio.Event) -> Iterator[None]:
    """Have `q` set the event, where there is a keyboard."""
    if not sys.stdin.isatty():
        yield
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    loop = asyncio.get_running_loop()

    def pressed() -> None:
        if os.read(descriptor, 1) in (b"q", b"Q", b"\x03", b""):
            quit_asked.set()

    tty.setcbreak(descriptor)
    loop.add_reader(descriptor, pressed)
    try:
        yield
    finally:
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
