"""Options that subcommands share, and how they become a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mishards.core.config import Loaded
from mishards.core.errors import ConfigError
from mishards.server.config import Config, load_config

ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="TOML file.", exists=True, dir_okay=False)
]
Data = Annotated[str | None, typer.Option("--data", help="Data folder, or URL of shared storage.")]
Metadata = Annotated[str | None, typer.Option("--metadata", help="URL of the metadata store.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Any setting, as section.key=value; may be repeated."),
]


def configuration(
    file: Path | None, data: str | None, settings: list[str] | None, **options: Any
) -> Loaded[Config]:
    """The configuration of a command; `options` are `section__key` settings, None when not given.

    Raises:
        ConfigError: a setting is malformed, unknown or not allowed.
    """
    chosen: dict[str, Any] = {"cluster.data": data}
    for name, value in options.items():
        chosen[name.replace("__", ".")] = value
    for number, setting in enumerate(settings or [], 1):
        key, separator, value = setting.partition("=")
        if not separator:  # it is not shown, for it may be a secret
            raise ConfigError(f"--set takes section.key=value; number {number} has no '='")
        chosen[key.strip()] = value
    return load_config(file, chosen)
