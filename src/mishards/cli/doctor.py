"""`mishards doctor`: what is wrong with a configuration and a running cluster, and what to do."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from mishards.cli.options import ConfigFile, Data, Metadata, Settings, configuration
from mishards.cli.tables import console
from mishards.doctor.findings import Diagnosis, Finding, Level
from mishards.doctor.reference import check_table
from mishards.doctor.run import LIMIT_S, examine

FAILED = 3
"""Exit code where something does not work."""
WARNED = 4
"""Exit code where nothing is worse than a warning."""
_COLOURS = {
    Level.FAILURE: "bold red",
    Level.WARNING: "yellow",
    Level.NOTE: "cyan",
    Level.OK: "green",
}


def doctor(
    config: ConfigFile = None,
    data: Data = None,
    metadata: Metadata = None,
    config_only: Annotated[
        bool,
        typer.Option(
            "--config-only",
            help="Connect to nothing: settings, files and ports of this machine alone.",
        ),
    ] = False,
    all: Annotated[bool, typer.Option("--all", help="Show also what is well.")] = False,
    limit: Annotated[
        float, typer.Option("--limit", help="Seconds that one thing may take.", min=1)
    ] = LIMIT_S,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    list_checks: Annotated[
        bool, typer.Option("--list", help="List all checks, as markdown, and do nothing.")
    ] = False,
    set: Settings = None,
) -> None:
    """Look a configuration and a running cluster over, and say what to do.

    Works as well as it can when parts are down. Exits with 0 when all is well, 3 when something
    does not work, 4 when there are only warnings.
    """
    if list_checks:
        print(check_table(), end="")
        return
    loaded = configuration(
        config, data, set, cluster__metadata=metadata, cluster__log_level="error"
    )
    diagnosis, left_behind = asyncio.run(
        examine(loaded, config, config_only=config_only, limit_s=limit)
    )
    if json:
        print(msgspec.json.format(msgspec.json.encode(diagnosis), indent=2).decode())
    else:
        _show(diagnosis, all=all)
    code = {Level.FAILURE: FAILED, Level.WARNING: WARNED}.get(diagnosis.worst, 0)
    if left_behind:
        # A thread that waits for storage that stands still would hold the process up for ever.
        sys.stdout.flush()
        os._exit(code)
    raise typer.Exit(code)


def _show(diagnosis: Diagnosis, *, all: bool) -> None:
    terminal = console()
    shown = [f for f in diagnosis.findings if all or f.level is not Level.OK]
    for finding in shown:
        _show_finding(terminal, finding)
    counts = {level: len(diagnosis.of(level)) for level in Level}
    where = f"cluster {diagnosis.cluster}" if diagnosis.cluster else "this configuration"
    told = ", ".join(
        f"{counts[level]} {name}"
        for level, name in (
            (Level.FAILURE, "failures"),
            (Level.WARNING, "warnings"),
            (Level.NOTE, "notes"),
            (Level.OK, "checks without a finding"),
        )
    )
    terminal.print(Text(f"{where}: {told}; looked for {diagnosis.seconds:.1f} s"))


def _show_finding(terminal: Console, finding: Finding) -> None:
    head = Text(f"{finding.level.upper():8}", style=_COLOURS[finding.level])
    head.append(f"{finding.check}: ", style="bold")
    head.append(finding.seen, style="not bold default")
    terminal.print(head)
    for word, text in (("why", finding.why), ("do ", finding.todo)):
        if text:
            terminal.print(Padding(Text(f"{word}  {text}"), (0, 0, 0, 8), expand=False))
