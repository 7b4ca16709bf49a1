"""`mishards up`: a complete instance, in one process or in several."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Annotated

import typer

from mishards.cli.options import ConfigFile, Data, Settings, configuration
from mishards.core.config import FILE_SUFFIX, setting_kinds, variable
from mishards.core.errors import ConfigError
from mishards.core.runtime import SystemRuntime
from mishards.core.secret import is_confidential
from mishards.observability import logs
from mishards.server.config import Config, hidden_in
from mishards.server.lifecycle import RunningNode
from mishards.server.run import run_node, run_to_end
from mishards.server.scratch import node_scratch
from mishards.server.supervisor import Supervisor, cluster_plan


def up(
    config: ConfigFile = None,
    data: Data = None,
    readers: Annotated[int, typer.Option(help="Readers; with --processes only.", min=1)] = 1,
    port: Annotated[int | None, typer.Option(help="Port of the Milvus API.")] = None,
    processes: Annotated[bool, typer.Option("--processes", help="A process per role.")] = False,
    writers: Annotated[
        int, typer.Option(help="Writers, of which one leads; with --processes only.", min=1)
    ] = 1,
    drills: Annotated[
        bool, typer.Option("--drills", help="Let `mishards drill` do harm; sets cluster.drills.")
    ] = False,
    set: Settings = None,
) -> None:
    """Run a complete instance until it is told to stop."""
    if drills:
        set = [*(set or []), "cluster.drills=true"]
    loaded = configuration(config, data, set, proxy__port=port)
    if not processes:
        for role, count in (("reader", readers), ("writer", writers)):
            if count > 1:
                raise ConfigError(
                    f"--{role}s {count} needs --processes: one process has one {role}"
                )
        run_node(loaded.config, ("writer", "reader", "proxy"), _say)
        return
    options, environ = _told(config, loaded.config, set or [])
    run_to_end(_supervise(loaded.config, writers, readers, options, environ))


def _told(
    file: Path | None, config: Config, settings: list[str]
) -> tuple[list[str], dict[str, str]]:
    """What every child is told: options, which all users of the machine can see, and its
    environment, which they cannot."""
    kinds = setting_kinds(Config)
    options = ["--data", config.cluster.data]
    environ = dict(os.environ)
    if file is not None:
        options += ["--config", str(file)]
    for setting in settings:
        key, _, value = setting.partition("=")
        if is_confidential(kinds.get(key.strip())):
            environ[variable(key.strip())] = value
            environ.pop(variable(key.strip() + FILE_SUFFIX), None)
        else:
            options += ["--set", setting]
    return options, environ


async def _supervise(
    config: Config, writers: int, readers: int, options: list[str], environ: dict[str, str]
) -> None:
    logs.configure(config.cluster.log_level, hidden_in(config))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    runtime = SystemRuntime(threads=1)
    try:
        with node_scratch() as sockets:
            plans = cluster_plan(writers, readers, options, config.proxy.port, sockets)
            await Supervisor(runtime, plans, environ).run(stop, lambda: None)
    finally:
        await runtime.close()


def _say(running: RunningNode) -> None:
    print(f"Mishards is ready: Milvus API at {running.uri}", flush=True)
