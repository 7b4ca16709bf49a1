"""`mishards restore`: collections of a backup into an empty data set, or beside others."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
import typer

from mishards.backup.plan import parse_renames
from mishards.backup.run import run_restore
from mishards.cli.backup import AsJson, Collections, Rate, split_names
from mishards.cli.options import ConfigFile, Data, Settings, configuration
from mishards.cli.progress import byte_bar


def restore(
    source: Annotated[str, typer.Option("--from", help="Folder, or URL of a store, of backups.")],
    name: Annotated[str, typer.Option("--name", help="Which backup; else the newest.")] = "",
    collections: Collections = "",
    rename: Annotated[
        list[str] | None,
        typer.Option(
            "--rename",
            help="old=new or db.old=db2.new; may be repeated. Alone, it restores only these.",
        ),
    ] = None,
    rate: Rate = 0.0,
    json: AsJson = False,
    config: ConfigFile = None,
    data: Data = None,
    set: Settings = None,
) -> None:
    """Restore a whole backup into an empty data set, or some of its collections into any.

    The cluster may be running or stopped. Everything appears in one step, or nothing does.
    """
    loaded = configuration(config, data, set, cluster__log_level="error")
    renames = parse_renames(rename or ())
    with byte_bar(shown=not json) as bar:
        report = asyncio.run(
            run_restore(
                loaded.config, source, name, split_names(collections), renames, rate * 1e6, bar
            )
        )
    if json:
        print(msgspec.json.encode(report).decode())
        return
    print(
        f"restored backup {report.name} as of timestamp {report.timestamp}: "
        f"{', '.join(report.collections) or 'no collections'}; {report.rows:,} rows, "
        f"{report.size_bytes / 1e6:,.1f} MB in {report.seconds:.1f} s"
    )
    for text in report.warnings:
        print(f"warning: {text}")
