"""Configuration: sections of frozen structs, from defaults, a file, the environment and options.

The order, the strongest last: default, TOML file, `MISHARDS_<SECTION>_<KEY>`, command line.
Invariants: nothing is read at import; an unknown section or key stops the start with the nearest
known name; every value's origin is kept; variables that begin with `MISHARDS_TEST_` are the test
suite's and mean nothing here.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from mishards.core.errors import ConfigError

PREFIX = "MISHARDS_"
TEST_PREFIX = f"{PREFIX}TEST_"
C = TypeVar("C", bound=msgspec.Struct)


class Loaded(msgspec.Struct, Generic[C], frozen=True):
    """A configuration and, per `section.key`, where its value came from."""

    config: C
    origins: dict[str, str]


def load(
    kind: type[C],
    *,
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Loaded[C]:
    """Fill `kind`, a struct whose fields are sections (structs with defaults).

    Args:
        environ: variables to read `MISHARDS_*` from; others are ignored.
        options: `section.key` to value, from the command line; None values are ignored.

    Raises:
        ConfigError: names the key, the value, what is allowed and where it came from.
    """
    sections = _sections(kind)
    values: dict[str, dict[str, Any]] = {name: {} for name in sections}
    origins = {f"{s}.{k}": "default" for s, keys in sections.items() for k in keys}
    layers = [
        (f"file {file}", _from_file(file, sections)),
        ("environment", _from_environment(environ or {}, sections)),
        ("command line", {k: v for k, v in (options or {}).items() if v is not None}),
    ]
    for origin, found in layers:
        for dotted, value in found.items():
            section, _, key = dotted.partition(".")
            if key not in sections.get(section, {}):
                raise _unknown(dotted, (f"{s}.{k}" for s, keys in sections.items() for k in keys))
            values[section][key] = _converted(dotted, value, sections[section][key], origin)
            origins[dotted] = origin
    return Loaded(msgspec.convert(values, kind), origins)


def _sections(kind: type[msgspec.Struct]) -> dict[str, dict[str, Any]]:
    """Per section its keys and their types."""
    found = {}
    for section in msgspec.structs.fields(kind):
        found[section.name] = {f.name: f.type for f in msgspec.structs.fields(section.type)}
    return found


def _from_file(file: Path | None, sections: Mapping[str, Any]) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        parsed = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {file}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the configuration {file} is not valid TOML: {error}") from error
    found = {}
    for section, content in parsed.items():
        if section not in sections:
            raise _unknown(section, sections)
        if not isinstance(content, dict):
            raise ConfigError(f"[{section}] in {file} must be a table, not {content!r}")
        found.update({f"{section}.{key}": value for key, value in content.items()})
    return found


def _from_environment(
    environ: Mapping[str, str], sections: Mapping[str, Mapping[str, Any]]
) -> dict[str, str]:
    known = {f"{PREFIX}{s}_{k}".upper(): f"{s}.{k}" for s, keys in sections.items() for k in keys}
    found = {}
    for name, value in environ.items():
        if not name.startswith(PREFIX) or name.startswith(TEST_PREFIX):
            continue
        if name not in known:
            raise _unknown(name, known)
        found[known[name]] = value
    return found


def _converted(dotted: str, value: Any, kind: Any, origin: str) -> Any:
    text = isinstance(value, str)
    if text and kind == tuple[str, ...]:
        value = [part.strip() for part in value.split(",") if part.strip()]
    try:
        return msgspec.convert(value, kind, strict=not text)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{dotted} = {value!r} ({origin}) is not allowed: {error}") from error


def _unknown(name: str, known: Iterable[str]) -> ConfigError:
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(names)}"
    return ConfigError(f"unknown configuration key {name!r}; {hint}")
