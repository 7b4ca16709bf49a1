"""Look-up of implementations by name.

The order: a built-in table of lazy `module:factory` strings, then the entry points of the kind
(`mishards.<kind>`), then an explicit `module:attribute`.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

from mishards.core.errors import PluginError
from mishards.core.secret import redact

_ATTRIBUTE = re.compile(r"[\w.]+:[\w.]+\Z")


def load(kind: str, name: str, builtin: Mapping[str, str]) -> Any:
    """The factory called `name` of a kind of plugin.

    Args:
        kind: `discovery`, `election`, `routing`, `storage`, `metadata`, `index` or `tracing`.
        builtin: name to `module:factory`.

    Raises:
        PluginError: for an unknown name (lists the known ones), or when importing fails
            (names the extra to install).
    """
    if (target := builtin.get(name)) is not None:
        return _resolve(kind, name, target)
    found = entry_points(group=f"mishards.{kind}", name=name)
    for point in found:
        return point.load()
    if _ATTRIBUTE.match(name):
        return _resolve(kind, name, name)
    others = sorted({*builtin, *(p.name for p in entry_points(group=f"mishards.{kind}"))})
    raise PluginError(f"unknown {kind} {redact(name)!r}; known are: {', '.join(others)}")


def _resolve(kind: str, name: str, target: str) -> Any:
    module_name, _, attribute = target.partition(":")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except ModuleNotFoundError as error:
        raise PluginError(
            f"{kind} {name!r} needs the package {error.name!r}; try: pip install 'mishards[{name}]'"
        ) from error
    except AttributeError as error:
        raise PluginError(f"{kind} {name!r}: {module_name} has no {attribute!r}") from error
