"""`mishards backup`: a consistent copy of collections while writes go on; listing, deleting."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
import typer

from mishards.backup.create import BackupReport
from mishards.backup.run import BackupSummary, delete_backup, list_backups, run_backup
from mishards.cli.options import ConfigFile, Data, Settings, configuration
from mishards.cli.progress import byte_bar
from mishards.cli.tables import new_table, show
from mishards.core.errors import InvalidParameter

Collections = Annotated[
    str,
    typer.Option("--collections", help="name or database.name, separated by commas; all if none."),
]
Rate = Annotated[
    float, typer.Option("--rate", help="Most megabytes copied a second; 0 for no limit.", min=0)
]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]


def backup(
    to: Annotated[str, typer.Option("--to", help="Folder, or URL of a store, of the backups.")],
    collections: Collections = "",
    name: Annotated[str, typer.Option("--name", help="Name of the backup; else the time.")] = "",
    rate: Rate = 0.0,
    list: Annotated[bool, typer.Option("--list", help="List the backups there.")] = False,
    delete: Annotated[str, typer.Option("--delete", help="Delete the backup of this name.")] = "",
    json: AsJson = False,
    config: ConfigFile = None,
    data: Data = None,
    set: Settings = None,
) -> None:
    """Back up collections, while writes go on or of a stopped cluster.

    What an earlier backup at the same place holds is not copied again. One that was interrupted
    goes on where it was when it is started again.
    """
    if (list and delete) or ((list or delete) and (collections or name)):
        raise InvalidParameter(
            "--list and --delete stand alone: without each other, --collections and --name"
        )
    if list:
        _show_list(asyncio.run(list_backups(to)), json)
        return
    if delete:
        removed = asyncio.run(delete_backup(to, delete))
        _say(
            removed,
            f"deleted backup {removed.name}: {removed.objects:,} objects, "
            f"{removed.size_bytes / 1e6:,.1f} MB",
            json,
        )
        return
    loaded = configuration(config, data, set)
    with byte_bar(shown=not json) as bar:
        report = asyncio.run(
            run_backup(loaded.config, to, name, split_names(collections), rate * 1e6, bar)
        )
    _say(report, _told(report), json)


def split_names(text: str) -> tuple[str, ...]:
    """The names in a text that separates them by commas."""
    return tuple(name for part in text.split(",") if (name := part.strip()))


def _told(report: BackupReport) -> str:
    lines = [
        f"backup {report.name}: {len(report.collections)} collections, {report.rows:,} rows, "
        f"{report.size_bytes / 1e6:,.1f} MB at timestamp {report.timestamp}",
        f"copied {report.objects_copied:,} of {report.objects:,} objects, "
        f"{report.bytes_copied / 1e6:,.1f} MB in {report.seconds:.1f} s",
    ]
    return "\n".join((*lines, *(f"warning: {text}" for text in report.warnings)))


def _show_list(found: list[BackupSummary], json: bool) -> None:
    if json:
        print(msgspec.json.encode(found).decode())
        return
    table = new_table("backup", "made", "state", "collections", "rows", "MB")
    for one in found:
        table.add_row(
            one.name,
            one.created,
            "whole" if one.finished else "unfinished",
            ", ".join(one.collections),
            f"{one.rows:,}" if one.finished else "",
            f"{one.size_bytes / 1e6:,.1f}" if one.finished else "",
        )
    show(table)


def _say(report: msgspec.Struct, text: str, json: bool) -> None:
    print(msgspec.json.encode(report).decode() if json else text)
