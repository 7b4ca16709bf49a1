"""The URL of a collector, and the headers that it wants.

Invariant: what messages show of them holds no account, no parameter's secret and no header's value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from mishards.core.errors import ConfigError
from mishards.core.secret import redact

_SHORTEST = 4
"""Shorter values are not looked for in texts: every word would be full of them."""
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


class Endpoint(msgspec.Struct, frozen=True):
    """A collector's URL, taken apart.

    Attributes:
        account: `user:password`; empty for none.
        path: with its query; empty for none.
    """

    scheme: str
    host: str
    port: int
    account: str
    path: str

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def name(self) -> str:
        """The URL as messages show it."""
        return f"{self.scheme}://{self.address}{redact(self.path)}"


def parse_endpoint(url: str, ports: Mapping[str, int]) -> Endpoint:
    """Take `url` apart.

    Args:
        ports: the schemes that are allowed, each with its port where the URL names none.

    Raises:
        ConfigError: it is no such URL.
    """

    def invalid(reason: str) -> ConfigError:
        return ConfigError(f"tracing.endpoint = {redact(url)!r} is not allowed: {reason}")

    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise invalid(str(error)) from error
    if parts.scheme not in ports or not host:
        raise invalid(f"expected {' or '.join(f'{scheme}://host:port' for scheme in ports)}")
    path = parts.path.rstrip("/")
    return Endpoint(
        scheme=parts.scheme,
        host=host,
        port=ports[parts.scheme] if port is None else port,
        account=unquote(parts.netloc.rpartition("@")[0]),
        path=f"{path}?{parts.query}" if parts.query else path,
    )


def parse_headers(text: str) -> dict[str, str]:
    """`name=value,name=value`, names in lower case; values are decoded as parts of a URL are, so
    that `%2C` stands for a comma.

    Raises:
        ConfigError: it is not of that form; shows no value.
    """
    found = {}
    for number, part in enumerate(filter(None, (part.strip() for part in text.split(","))), 1):
        name, separator, value = (piece.strip() for piece in part.partition("="))
        if not separator or _HEADER.fullmatch(name) is None:
            raise ConfigError(
                f"tracing.headers: entry {number} is not allowed: expected name=value, and %2C for "
                "a comma in a value"
            )
        decoded = unquote(value)
        if not decoded.isascii() or not decoded.isprintable():
            raise ConfigError(
                f"tracing.headers: the value of {name!r} is not allowed: expected printable ASCII"
            )
        found[name.lower()] = decoded
    return found


def values_in(headers: str) -> tuple[str, ...]:
    """What of the headers is not to be shown: each value, and its last word, that is a token where
    the first names a kind. Of headers that are not of their form nothing."""
    try:
        values = parse_headers(headers).values()
    except ConfigError:
        return ()
    found = (part for value in values for part in (value, value.rpartition(" ")[2]))
    return tuple(part for part in found if len(part) >= _SHORTEST)


def require_ca(path: str) -> None:
    """Raises `ConfigError` for a CA file that cannot be read; empty is none."""
    if not path:
        return
    try:
        Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read tracing.ca = {path!r}: {error.strerror}") from error
