"""`mishards trace`: runs one search and draws what it did as a tree; or draws what was slow."""

from __future__ import annotations

import asyncio
import json as text
from collections.abc import Sequence
from typing import Annotated

import typer

from mishards.cli.options import ConfigFile, Data, Settings, configuration
from mishards.cli.trace_tree import draw, draw_all
from mishards.core.errors import InvalidParameter, NotReady
from mishards.observability.spans import Trace
from mishards.proxy.explain import span_form
from mishards.server.config import Config
from mishards.server.slow import slow_calls
from mishards.server.status import cluster_report


def trace(
    collection: Annotated[str, typer.Option(help="The collection to search.")] = "",
    vector: Annotated[str, typer.Option(help="The vector, as [0.1, 0.2, …].")] = "",
    id: Annotated[str, typer.Option(help="Search with the vector of the row of this key.")] = "",
    random: Annotated[bool, typer.Option("--random", help="Search with any vector.")] = False,
    filter: Annotated[str, typer.Option(help="Only rows that match.")] = "",
    limit: Annotated[int, typer.Option(help="How many hits, or calls.", min=1)] = 10,
    slow: Annotated[
        bool, typer.Option("--slow", help="Instead: slow and failed calls, the newest last.")
    ] = False,
    field: Annotated[str, typer.Option(help="The vector field, where there are several.")] = "",
    output: Annotated[str, typer.Option(help="Output fields, with commas between.")] = "",
    database: Annotated[str, typer.Option(help="Of the collection.")] = "default",
    uri: Annotated[str, typer.Option(help="A proxy; by default one of the cluster.")] = "",
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    config: ConfigFile = None,
    data: Data = None,
    set: Settings = None,
) -> None:
    """Run one search, and show where its time went, what was searched and what not, and why."""
    if slow:
        loaded = configuration(config, data, set, cluster__log_level="error")
        _show(asyncio.run(slow_calls(loaded.config, limit)), json=json)
        return
    if not collection:
        raise InvalidParameter("name the --collection to search, or ask for --slow calls")
    if [bool(vector), bool(id), random].count(True) != 1:
        raise InvalidParameter("name one of --vector, --id and --random: what to search with")
    if not uri:
        uri = _proxy(configuration(config, data, set, cluster__log_level="error").config)
    # Only this command needs a client, which takes long to import.
    from mishards.cli.trace_search import Sought, searched

    sought = Sought(
        database=database,
        collection=collection,
        field=field,
        vector=vector,
        key=id,
        filter=filter,
        limit=limit,
        output=tuple(one.strip() for one in output.split(",") if one.strip()),
    )
    told, hits = searched(uri, sought)
    if json:
        print(text.dumps(told, indent=2))
    else:
        draw(told, hits)


def _show(traces: Sequence[Trace], *, json: bool) -> None:
    """Print what proxies remember, newest first as it comes."""
    told = [
        {"trace_id": trace.trace_id, "spans": [span_form(span) for span in trace.spans]}
        for trace in traces
    ]
    if json:
        print(text.dumps(told, indent=2))
    else:
        draw_all(told[::-1])


def _proxy(config: Config) -> str:
    """Where a proxy of the cluster serves."""
    report = asyncio.run(cluster_report(config))
    for node in report.nodes:
        if node.edge and node.ready:
            return f"{'https' if config.proxy.tls_certificate else 'http'}://{node.edge}"
    raise NotReady(f"no proxy of cluster {report.cluster} is ready; name one with --uri")
