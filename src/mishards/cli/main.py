"""The `mishards` command: its subcommands, and how an error ends it."""

from __future__ import annotations

import sys
import traceback
from types import TracebackType

import typer

from mishards.cli import (
    backup,
    check,
    config,
    doctor,
    drill,
    handover,
    repair,
    restore,
    roles,
    status,
    top,
    trace,
    up,
)
from mishards.core.errors import MishardsError
from mishards.core.secret import redact
from mishards.observability import logs

app = typer.Typer(
    name="mishards",
    help="Distributed vector search that speaks the Milvus API.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("up")(up.up)
app.command("proxy")(roles.proxy)
app.command("writer")(roles.writer)
app.command("reader")(roles.reader)
app.command("status")(status.status)
app.command("doctor")(doctor.doctor)
app.command("top")(top.top)
app.command("trace")(trace.trace)
app.command("handover")(handover.handover)
app.command("drill")(drill.drill)
app.command("backup")(backup.backup)
app.command("restore")(restore.restore)
app.command("repair")(repair.repair)
app.command("check")(check.check)
app.command("scrub")(check.scrub)
app.add_typer(config.app, name="config")


def main() -> None:
    """Run the command; an error of the project's own is one line and exit code 1."""
    logs.guard()
    sys.excepthook = _show_defect
    try:
        app()
    except MishardsError as error:
        print(f"mishards: {redact(error.message)}", file=sys.stderr)
        sys.exit(1)


def _show_defect(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Print what Python would, without passwords."""
    text = "".join(traceback.format_exception(kind, error, trace))
    print(redact(text), end="", file=sys.stderr)
