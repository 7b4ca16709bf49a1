"""`mishards check` and `mishards scrub`: is everything there, and is it what it was?"""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
import typer

from mishards.cli.options import ConfigFile, Data, Metadata, Settings, configuration
from mishards.cli.progress import byte_bar
from mishards.cli.tables import new_table, show
from mishards.upkeep.findings import Inspected
from mishards.upkeep.run import run_inspection

WRONG = 3
"""Exit code when something is wrong."""
_MOST_ORPHANS = 20
AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]


def check(
    config: ConfigFile = None,
    data: Data = None,
    metadata: Metadata = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read everything, and compare checksums.")
    ] = False,
    json: AsJson = False,
    set: Settings = None,
) -> None:
    """Compare storage with metadata: every object is there with its size, logs can be read, the
    journal agrees with the database. For a live cluster or a stopped one; exits with 3 when
    something is wrong."""
    loaded = configuration(
        config, data, set, cluster__metadata=metadata, cluster__log_level="error"
    )
    with byte_bar(shown=deep and not json) as bar:
        found = asyncio.run(run_inspection(loaded.config, bar, deep=deep))
    _end(found, json)


def scrub(
    config: ConfigFile = None,
    data: Data = None,
    metadata: Metadata = None,
    rate: Annotated[
        float, typer.Option("--rate", help="Most megabytes read a second; 0 for no limit.", min=0)
    ] = 50.0,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Have damaged indexes built anew, and segments refused."),
    ] = False,
    json: AsJson = False,
    set: Settings = None,
) -> None:
    """Read every object at a bounded rate and compare checksums: segments, indexes, deletes, log,
    journal. Exits with 3 when something is damaged."""
    loaded = configuration(
        config, data, set, cluster__metadata=metadata, cluster__log_level="error"
    )
    with byte_bar(shown=not json) as bar:
        found = asyncio.run(
            run_inspection(loaded.config, bar, deep=True, rate_bytes_s=rate * 1e6, report=repair)
        )
    _end(found, json)


def _end(found: Inspected, json: bool) -> None:
    if json:
        print(msgspec.json.encode(found).decode())
    else:
        _show(found)
    if not found.sound:
        raise typer.Exit(WRONG)


def _show(found: Inspected) -> None:
    if found.findings:
        table = new_table("what", "collection", "object", "what is wrong", title="damage")
        for finding in found.findings:
            table.add_row(finding.subject, finding.collection, finding.key, finding.message)
        show(table)
    for orphan in found.orphans[:_MOST_ORPHANS]:
        print(f"orphan: {orphan.key} ({orphan.size_bytes:,} bytes)")
    if (more := len(found.orphans) - _MOST_ORPHANS) > 0:
        print(f"orphan: and {more:,} more; --json lists all")
    for note in found.notes:
        print(f"note: {note}")
    for told in found.repairs:
        print(f"reported: {told}")
    verdict = "all is well" if found.sound else f"{len(found.findings):,} things are wrong"
    print(
        f"{verdict}: metadata version {found.version} names {found.objects:,} objects of "
        f"{found.size_bytes / 1e6:,.1f} MB; read {found.read_bytes / 1e6:,.1f} MB, "
        f"{found.log_entries:,} log entries and {found.journal_objects:,} of the journal in "
        f"{found.seconds:.1f} s; {len(found.orphans):,} orphans"
    )
