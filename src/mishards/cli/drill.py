"""`mishards drill`: harm a cluster on purpose, and say what its clients saw of it."""

from __future__ import annotations

import asyncio
import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from mishards.cli.options import ConfigFile, Data, Metadata, Settings, configuration
from mishards.cli.tables import new_table, show
from mishards.core.errors import ConfigError

if TYPE_CHECKING:
    from mishards.drill.figures import Calls
    from mishards.drill.kinds import Order
    from mishards.drill.prospect import Prospect
    from mishards.drill.report import Report

FAILED = 3
"""Exit code of a drill that was done and did not pass."""
REFUSED = 2
"""Exit code without consent."""
_MOST_FINDINGS = 5


class Fault(StrEnum):
    """What is done."""

    KILL_READER = "kill-reader"
    KILL_WRITER = "kill-writer"
    PAUSE_WRITER = "pause-writer"
    CUT_STORAGE = "cut-storage"


def drill(
    fault: Annotated[Fault, typer.Argument(help="What is done, while the drill's clients work.")],
    config: ConfigFile = None,
    data: Data = None,
    metadata: Metadata = None,
    seconds: Annotated[
        float,
        typer.Option(help="How long a pause or a cut lasts; how long a kill is watched at least."),
    ] = 5.0,
    calm: Annotated[
        float, typer.Option(help="Seconds that are measured before, and after.", min=0.1)
    ] = 3.0,
    clients: Annotated[int, typer.Option(help="Clients at work.", min=1, max=32)] = 3,
    patience: Annotated[
        float, typer.Option(help="Seconds in which a killed node has to be back.", min=1)
    ] = 60.0,
    node: Annotated[str, typer.Option(help="The reader to kill; one by default.")] = "",
    everywhere: Annotated[
        bool, typer.Option("--everywhere", help="Keep storage from all nodes.")
    ] = False,
    stall: Annotated[
        bool, typer.Option("--stall", help="Storage stands still, rather than fails.")
    ] = False,
    uri: Annotated[
        list[str] | None,
        typer.Option(help="Of a proxy or balancer to call, http(s)://host:port; may be repeated."),
    ] = None,
    authority: Annotated[
        Path | None,
        typer.Option("--ca", help="PEM file to verify proxies with.", exists=True, dir_okay=False),
    ] = None,
    even_so: Annotated[
        bool, typer.Option("--even-so", help="Also where it is an outage by design.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Consent; nothing is asked.")] = False,
    json: Annotated[bool, typer.Option("--json", help="As JSON; needs --yes.")] = False,
    set: Settings = None,
) -> None:
    """Do harm to a running cluster whose nodes have cluster.drills = true, on a collection of its
    own, and tell recovery, failed calls and lost rows. Exits with 0 when the drill passed, with 3
    when it did not, with 2 without consent."""
    # Nodes start by the same command, and need none of this.
    from mishards.drill.kinds import KINDS, Order
    from mishards.drill.prospect import prospect
    from mishards.drill.run import run_drill

    loaded = configuration(
        config, data, set, cluster__metadata=metadata, cluster__log_level="error"
    )
    order = Order(
        kind=KINDS[fault.value],
        seconds=seconds,
        calm_s=calm,
        patience_s=patience,
        node=node,
        everywhere=everywhere,
        stall=stall,
        even_so=even_so,
        uris=tuple(uri or ()),
        authority=str(authority or ""),
        clients=clients,
    )
    found = asyncio.run(prospect(loaded.config, order))
    if found.outage and not even_so:
        raise ConfigError(
            f"{fault.value} would be an outage by design: {found.outage}; --even-so does it anyway"
        )
    if not yes and not (not json and _consents(order, found)):
        print("mishards: nothing was done: no consent", file=sys.stderr)
        raise typer.Exit(REFUSED)

    def say(what: str) -> None:
        print(what, file=sys.stderr if json else sys.stdout, flush=True)

    async def run() -> Report:
        task = asyncio.current_task()
        assert task is not None
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        return await run_drill(loaded.config, order, found, say)

    try:
        report = asyncio.run(run())
    except asyncio.CancelledError:
        print("mishards: the drill was interrupted", file=sys.stderr)
        raise typer.Exit(128 + signal.SIGINT) from None
    if json:
        print(_encoded(report))
    else:
        _show(report)
    if not report.passed:
        raise typer.Exit(FAILED)


def _consents(order: Order, found: Prospect) -> bool:
    """Whether whoever sits there types the cluster's name."""
    nodes = ", ".join(node.id for node in found.nodes)
    one = "" if len(found.nodes) == 1 or order.everywhere else "one of "
    print(f"This drill will {order.described(one + nodes)}.")
    print(f"Its clients call {', '.join(found.uris)}, on a collection of their own.")
    if found.outage:
        print(f"It is an outage by design: {found.outage}.")
    for name in found.left:
        print(f"Collection {name} is of an earlier drill; drop it, unless that still runs.")
    try:
        typed = input(f"To consent, type the cluster's id, {found.cluster}: ")
    except EOFError:
        print()
        return False
    return typed.strip() == found.cluster


def _encoded(report: Report) -> str:
    told = msgspec.to_builtins(report)
    told |= {"passed": report.passed, "invariants": report.invariants}
    return msgspec.json.format(msgspec.json.encode(told), indent=2).decode()


def _show(report: Report) -> None:
    table = new_table(
        "calls", "p99 before", "during", "after", "made", "failed", "longest gap", "recovery"
    )
    table.title = f"{report.drill} of cluster {report.cluster}: {report.fault}"
    for name, calls in (("reads", report.reads), ("writes", report.writes)):
        table.add_row(name, *_cells(calls))
    show(table)
    back = "not back" if report.back_s is None else f"all nodes back after {report.back_s:.1f} s"
    print(f"{back}; lost rows: {report.lost_rows:,} of {report.rows:,} acknowledged")
    held = " ".join(f"{name} {'holds' if ok else 'BROKEN'}" for name, ok in _held(report))
    print(f"invariants: {held}")
    for finding in report.findings[:_MOST_FINDINGS]:
        print(f"  {finding.invariant}: {finding.what}\n    {finding.call}")
    if report.left:
        print(f"collection {report.left} is left: drop it")
    for why in report.wrong:
        print(f"wrong: {why}")
    print("PASSED" if report.passed else "FAILED")


def _held(report: Report) -> list[tuple[str, bool]]:
    return sorted(report.invariants.items())


def _cells(calls: Calls) -> list[str]:
    phases = (calls.before, calls.during, calls.after)
    spent = ["-" if one.p99_ms is None else f"{one.p99_ms:.0f} ms" for one in phases]
    made = sum(one.calls for one in phases)
    back = "never" if calls.recovery_s is None else f"{calls.recovery_s:.2f} s"
    failed = f"{calls.failed:,}" + f" ({calls.excused:,} excused)" * bool(calls.excused)
    return [*spent, f"{made:,}", failed, f"{calls.longest_gap_s:.2f} s", back]
