"""`mishards config prometheus` and `targets`: what Prometheus has to know of a cluster."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Annotated

import typer

from mishards.cli.options import ConfigFile, Data, Settings, configuration
from mishards.core.errors import ConfigError
from mishards.observability import logs
from mishards.server.balancing.plan import checked_address
from mishards.server.monitoring.follow import keep_targets
from mishards.server.monitoring.prometheus import PrometheusPlan, prometheus_file
from mishards.server.monitoring.targets import present_targets, targets_file

_DURATION = re.compile(r"[1-9]\d*(ms|s|m|h)")


def prometheus(
    targets: Annotated[
        str,
        typer.Option(
            "--targets",
            help="Let Prometheus read the nodes from this file, which `mishards config targets "
            "--follow` keeps. Without it, the nodes of now are listed.",
        ),
    ] = "",
    rules: Annotated[
        list[str] | None,
        typer.Option("--rules", help="File of rules, may have * in its name; may be repeated."),
    ] = None,
    alertmanager: Annotated[
        list[str] | None,
        typer.Option("--alertmanager", help="host:port of an Alertmanager; may be repeated."),
    ] = None,
    token_file: Annotated[
        str, typer.Option("--token-file", help="File with the token of the HTTP endpoints.")
    ] = "",
    ca: Annotated[
        str, typer.Option("--ca", help="PEM file: the HTTP endpoints speak TLS, by this authority.")
    ] = "",
    interval: Annotated[
        str, typer.Option("--interval", help="Between two scrapes, such as 15s.")
    ] = "15s",
    config: ConfigFile = None,
    data: Data = None,
    set: Settings = None,
) -> None:
    """Print a complete prometheus.yml."""
    if not _DURATION.fullmatch(interval):
        raise ConfigError(f"invalid interval {interval!r}: a number and ms, s, m or h, as 15s")
    loaded = configuration(config, data, set).config
    plan = PrometheusPlan(
        targets=() if targets else tuple(present_targets(loaded)),
        targets_file=targets,
        rules=tuple(rules or ()),
        alertmanagers=tuple(map(checked_address, alertmanager or ())),
        token_file=token_file,
        ca_file=ca,
        interval=interval,
    )
    print(prometheus_file(plan), end="")


def targets(
    follow: Annotated[
        Path | None,
        typer.Option("--follow", help="Write this file instead, and anew whenever nodes change."),
    ] = None,
    every: Annotated[
        float, typer.Option("--every", help="With --follow: seconds between two looks.", min=0.1)
    ] = 2.0,
    keep: Annotated[
        float,
        typer.Option("--keep", help="With --follow: seconds that a lost node stays listed.", min=0),
    ] = 900.0,
    config: ConfigFile = None,
    data: Data = None,
    set: Settings = None,
) -> None:
    """Print the nodes' HTTP endpoints for file_sd_configs, or keep a file as the cluster is."""
    loaded = configuration(config, data, set).config
    if follow is None:
        print(targets_file(present_targets(loaded)), end="")
    else:
        logs.configure(loaded.cluster.log_level)
        asyncio.run(keep_targets(loaded, follow, every, keep))
