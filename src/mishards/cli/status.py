"""`mishards status`: nodes, collections, segments and where each is served."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from mishards.cli.options import ConfigFile, Data, Settings, configuration
from mishards.cli.tables import new_table, show
from mishards.server.status import ClusterReport, cluster_report


def status(
    config: ConfigFile = None,
    data: Data = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    set: Settings = None,
) -> None:
    """Show the cluster as a table or as JSON."""
    loaded = configuration(config, data, set, cluster__log_level="error")
    report = asyncio.run(cluster_report(loaded.config))
    if json:
        print(msgspec.json.format(msgspec.json.encode(report), indent=2).decode())
        return
    show(_nodes(report), _collections(report), _segments(report))
    for reason in sorted(_damage(report)):
        print(f"damage: {reason}")


def _nodes(report: ClusterReport) -> Table:
    table = new_table("node", "roles", "address", "Milvus API", "pid", "state", "metadata", "entry")
    table.title = f"nodes of cluster {report.cluster}, metadata version {report.metadata_version}"
    for node in report.nodes:
        state = "no answer" if not node.answers else "ready" if node.ready else "not ready"
        roles = ", ".join(node.roles)
        if node.leads:
            roles += f" (leads log {', '.join(map(str, node.leads))})"
        table.add_row(
            node.id,
            roles,
            node.address,
            node.edge,
            str(node.pid),
            state,
            str(node.metadata_version),
            str(node.applied_seq),
        )
    return table


def _collections(report: ClusterReport) -> Table:
    table = new_table(
        "database", "collection", "loaded", "replicas", "sealed", "growing", "segments", "recall"
    )
    table.title = "collections"
    for found in report.collections:
        table.add_row(
            found.database,
            found.name,
            "yes" if found.loaded else "no",
            str(found.replicas),
            f"{found.rows_sealed:,}",
            f"{found.rows_growing:,}",
            str(len(found.segments)),
            "-" if found.recall is None else f"{found.recall:.3f}",
        )
    return table


def _damage(report: ClusterReport) -> set[str]:
    """What nodes found wrong with segments, each once."""
    return {
        reason
        for collection in report.collections
        for segment in collection.segments
        for reason in segment.quarantined_by.values()
    }


def _segments(report: ClusterReport) -> Table:
    table = new_table("collection", "partition", "segment", "rows", "MB", "served by")
    table.title = "segments"
    for collection in report.collections:
        for segment in collection.segments:
            served = [f"{node} ({how})" for node, how in segment.served_by.items()]
            served += [f"{node}: QUARANTINED" for node in segment.quarantined_by]
            table.add_row(
                collection.name,
                segment.partition,
                str(segment.id),
                f"{segment.rows:,}",
                f"{segment.size_bytes / 1e6:.1f}",
                "\n".join(served) or "-",
            )
    return table
