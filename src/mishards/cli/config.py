"""`mishards config`: every setting, its value and where it came from, and what each means; files
for balancers."""

from __future__ import annotations

import msgspec
import typer

from mishards.cli import balancers, tables
from mishards.cli.options import ConfigFile, Data, Settings, configuration
from mishards.server.reference import configuration_page

app = typer.Typer(help="The configuration.", no_args_is_help=True)
app.command("nginx")(balancers.nginx)
app.command("haproxy")(balancers.haproxy)
app.command("ingress")(balancers.ingress)
_SECRETS = frozenset({"cluster.secret"})


@app.callback()
def _group() -> None:
    """The configuration."""


@app.command()
def show(config: ConfigFile = None, data: Data = None, set: Settings = None) -> None:
    """Print each setting with its value and origin; secrets are masked."""
    loaded = configuration(config, data, set)
    table = tables.new_table("setting", "value", "from")
    for dotted, origin in loaded.origins.items():
        section, _, key = dotted.partition(".")
        value = getattr(getattr(loaded.config, section), key)
        shown = "***" if dotted in _SECRETS and value else msgspec.json.encode(value).decode()
        table.add_row(dotted, shown, origin)
    tables.show(table)


@app.command()
def reference() -> None:
    """Print what every setting means, as markdown."""
    print(configuration_page(), end="")
