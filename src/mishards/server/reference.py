"""The reference page of the configuration, made from the structs that define it."""

from __future__ import annotations

import inspect
import re
from typing import Any

import msgspec

from mishards.core.config import FILE_SUFFIX, variable
from mishards.core.secret import Secret, is_confidential, redact
from mishards.server.config import Config

_HEAD = """# Configuration

Made from the code by `mishards config reference`; a test keeps it equal.

A value comes from, the strongest last: the default, a TOML file (`--config`), the environment,
the command line (`--set section.key=value`, or an option of its own). An unknown key stops the
start. `mishards config show` prints every value and where it came from.
"""
_ENTRY = re.compile(r"^ {4}(\w+): (.+(?:\n {8,}.+)*)", re.MULTILINE)


def configuration_page() -> str:
    """The page as markdown."""
    parts = [_HEAD]
    for section in msgspec.structs.fields(Config):
        parts.append(_section(section.name, section.type))
    return "\n".join(parts)


def _section(name: str, kind: Any) -> str:
    text = inspect.getdoc(kind) or ""
    summary, _, attributes = text.partition("Attributes:")
    said = {
        found.group(1): " ".join(found.group(2).split()) for found in _ENTRY.finditer(attributes)
    }
    lines = [f"## `[{name}]`", "", " ".join(summary.split()), ""]
    lines += ["| key | default | environment | what it sets |", "|---|---|---|---|"]
    for field in msgspec.structs.fields(kind):
        default = shown(field.default)
        meaning = said[field.name]
        if is_confidential(field.type):
            meaning += f" Not shown; `{field.name}{FILE_SUFFIX}` names a file that holds it."
        named = variable(f"{name}.{field.name}")
        lines.append(f"| `{field.name}` | `{default}` | `{named}` | {meaning} |")
    return "\n".join([*lines, ""])


def shown(value: Any) -> str:
    """A setting's value as JSON, without what is secret of it."""
    if isinstance(value, Secret):
        return str(value) or '""'
    if isinstance(value, str):
        value = redact(value)
    return redact(msgspec.json.encode(value).decode())
