"""Configuration: sections of frozen structs, from defaults, a file, the environment and options.

The order, the strongest last: default, TOML file, `MISHARDS_<SECTION>_<KEY>`, command line. For
each setting that is not to be shown there is `<key>_file`, which names a file that holds its value.
Invariants: no error shows such a value; nothing is read at import; an unknown section or key stops
the start with the nearest known name; every value's origin is kept; variables that begin with
`MISHARDS_TEST_` are the test suite's and mean nothing here.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from mishards.core.errors import ConfigError
from mishards.core.secret import HIDDEN, Secret, is_confidential, read_secret

PREFIX = "MISHARDS_"
TEST_PREFIX = f"{PREFIX}TEST_"
FILE_SUFFIX = "_file"
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
    known = {**_settings(sections), **_file_settings(sections)}
    for layer, found in layers:
        for dotted, value in found.items():
            if dotted not in known:
                raise _unknown(dotted, known)
            target, origin = known[dotted], layer
            if target != dotted:
                if target in found:
                    raise ConfigError(f"{target} and {dotted} are both given ({layer}): give one")
                origin = f"{layer}, {dotted} {value}"
                value = read_secret(str(value), target)
            section, _, key = target.partition(".")
            values[section][key] = _converted(target, value, sections[section][key], origin)
            origins[target] = origin
    return Loaded(msgspec.convert(values, kind), origins)


def setting_kinds(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Per `section.key` of a configuration the type of its values."""
    return {f"{s}.{k}": found for s, keys in _sections(kind).items() for k, found in keys.items()}


def variable(dotted: str) -> str:
    """The environment variable of `section.key`."""
    return f"{PREFIX}{dotted.replace('.', '_')}".upper()


def _settings(sections: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Every `section.key`, as the setting that it sets: itself."""
    return {f"{s}.{k}": f"{s}.{k}" for s, keys in sections.items() for k in keys}


def _file_settings(sections: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Per `section.key_file` the setting whose value the file holds."""
    return {
        f"{s}.{k}{FILE_SUFFIX}": f"{s}.{k}"
        for s, keys in sections.items()
        for k, kind in keys.items()
        if is_confidential(kind)
    }


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
    known = {variable(key): key for key in (*_settings(sections), *_file_settings(sections))}
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
    if kind is Secret:
        if text or isinstance(value, Secret):
            return Secret(value) if text else value
        raise ConfigError(f"{dotted} ({origin}) has to be a text, not {type(value).__name__}")
    if text and kind == tuple[str, ...]:
        value = [part.strip() for part in value.split(",") if part.strip()]
    try:
        return msgspec.convert(value, kind, strict=not text)
    except msgspec.ValidationError as error:
        shown = HIDDEN if is_confidential(kind) else repr(value)
        raise ConfigError(f"{dotted} = {shown} ({origin}) is not allowed: {error}") from error


def _unknown(name: str, known: Iterable[str]) -> ConfigError:
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(names)}"
    return ConfigError(f"unknown configuration key {name!r}; {hint}")
