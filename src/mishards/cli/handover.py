"""`mishards handover`: let a standby writer lead, before the leader is stopped or moved."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from mishards.cli.options import ConfigFile, Data, Settings, configuration
from mishards.core.ids import LogId, NodeId
from mishards.server.handover import request_handover


def handover(
    config: ConfigFile = None,
    data: Data = None,
    to: Annotated[str, typer.Option(help="The writer that is to lead; any by default.")] = "",
    log: Annotated[int, typer.Option(help="The log.")] = 0,
    set: Settings = None,
) -> None:
    """Let a standby writer lead a log; writes wait for the blink of an eye."""
    loaded = configuration(config, data, set, cluster__log_level="error")
    answer = asyncio.run(request_handover(loaded.config, LogId(log), NodeId(to)))
    print(f"{answer.leader} leads log {log}; writes waited for {answer.paused_ms:.0f} ms")
