"""`mishards proxy`, `mishards writer`, `mishards reader`: one role in this process."""

from __future__ import annotations

from typing import Annotated

import typer

from mishards.cli.options import ConfigFile, Data, Settings, configuration
from mishards.server.lifecycle import RunningNode
from mishards.server.run import run_node

NodeName = Annotated[str | None, typer.Option("--id", help="Name of this node in the cluster.")]
Listen = Annotated[
    str | None,
    typer.Option("--listen", help="Address of the internal protocol: tcp://host:port."),
]


def proxy(
    config: ConfigFile = None,
    data: Data = None,
    id: NodeName = None,
    listen: Listen = None,
    host: Annotated[str | None, typer.Option(help="Host of the Milvus API.")] = None,
    port: Annotated[int | None, typer.Option(help="Port of the Milvus API.")] = None,
    set: Settings = None,
) -> None:
    """Serve the Milvus API: split searches over the readers, send writes to the writer."""
    loaded = configuration(
        config, data, set, node__id=id, node__listen=listen, proxy__host=host, proxy__port=port
    )
    run_node(loaded.config, ("proxy",), _say)


def writer(
    config: ConfigFile = None,
    data: Data = None,
    id: NodeName = None,
    listen: Listen = None,
    set: Settings = None,
) -> None:
    """Log mutations, seal segments, build indexes, answer DDL."""
    loaded = configuration(config, data, set, node__id=id, node__listen=listen)
    run_node(loaded.config, ("writer",), _say)


def reader(
    config: ConfigFile = None,
    data: Data = None,
    id: NodeName = None,
    listen: Listen = None,
    set: Settings = None,
) -> None:
    """Hold segments and answer sub-requests."""
    loaded = configuration(config, data, set, node__id=id, node__listen=listen)
    run_node(loaded.config, ("reader",), _say)


def _say(running: RunningNode) -> None:
    serving = f", Milvus API at {running.uri}" if running.edge is not None else ""
    print(f"{running.node.id} is ready at {running.node.address}{serving}", flush=True)
