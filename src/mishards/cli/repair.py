"""`mishards repair`: the metadata database from its journal on shared storage."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
import typer

from mishards.cli.options import ConfigFile, Data, Metadata, Settings, configuration
from mishards.cli.tables import new_table, show
from mishards.upkeep.repair import Outcome, RepairReport
from mishards.upkeep.run import run_repair


def repair(
    config: ConfigFile = None,
    data: Data = None,
    metadata: Metadata = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Even while a writer lives; take the journal where the two differ, make it "
            "anew where they agree.",
        ),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    set: Settings = None,
) -> None:
    """Rebuild a metadata database that was lost, emptied, or replaced by an older one.

    All that was committed is on shared storage as well. Rows are not touched: the next writer finds
    them in segments and log.
    """
    loaded = configuration(
        config, data, set, cluster__metadata=metadata, cluster__log_level="error"
    )
    report = asyncio.run(run_repair(loaded.config, dry_run=dry_run, force=force))
    if json:
        print(msgspec.json.encode(report).decode())
        return
    _show(report)


def _show(report: RepairReport) -> None:
    would = "would be: " if report.dry_run and report.outcome is not Outcome.NOTHING else ""
    done = "nothing to do" if report.outcome is Outcome.NOTHING else f"{would}{report.outcome}"
    print(f"{done}: {report.reason}")
    holds = report.holdings
    table = new_table("", "", title="metadata")
    journal = "damaged" if report.journal_version is None else str(report.journal_version)
    for name, value in (
        ("version of the database, before", str(report.database_version)),
        ("version of the journal", journal),
        ("version now", str(report.database_version if report.dry_run else report.version)),
        ("replayed", f"snapshot {report.base} and {report.entries:,} entries"),
        ("databases", f"{holds.databases:,}"),
        ("collections", f"{holds.collections:,}"),
        ("partitions", f"{holds.partitions:,}"),
        ("indexes", f"{holds.indexes:,}"),
        ("segments", f"{holds.segments:,}"),
        ("rows in segments", f"{holds.rows_sealed:,}"),
    ):
        table.add_row(name, value)
    for log in holds.logs:
        table.add_row(
            f"log {log.id}",
            f"epoch {log.epoch}, led by {log.leader or 'nobody'}; "
            f"a start reads it from entry {log.replay_from} on",
        )
    show(table)
    for note in report.notes:
        print(f"note: {note}")
    for key in report.removed:
        print(f"removed: {key}")
