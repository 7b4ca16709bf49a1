"""`mishards config`: every setting, its value and where it came from, and what each means; files
for balancers and for Prometheus."""

from __future__ import annotations

import typer

from mishards.cli import balancers, prometheus, tables
from mishards.cli.options import ConfigFile, Data, Settings, configuration
from mishards.core.secret import redact
from mishards.server.metrics_reference import metrics_page
from mishards.server.reference import configuration_page, shown

app = typer.Typer(help="The configuration.", no_args_is_help=True)
app.command("nginx")(balancers.nginx)
app.command("haproxy")(balancers.haproxy)
app.command("ingress")(balancers.ingress)
app.command("prometheus")(prometheus.prometheus)
app.command("targets")(prometheus.targets)


@app.callback()
def _group() -> None:
    """The configuration."""


@app.command()
def show(config: ConfigFile = None, data: Data = None, set: Settings = None) -> None:
    """Print each setting with its value and origin; secrets and passwords are masked."""
    loaded = configuration(config, data, set)
    table = tables.new_table("setting", "value", "from")
    for dotted, origin in loaded.origins.items():
        section, _, key = dotted.partition(".")
        value = getattr(getattr(loaded.config, section), key)
        table.add_row(dotted, shown(value), redact(origin))
    tables.show(table)


@app.command()
def reference() -> None:
    """Print what every setting means, as markdown."""
    print(configuration_page(), end="")


@app.command()
def metrics() -> None:
    """Print what every metric of `/metrics` says, as markdown."""
    print(metrics_page(), end="")
