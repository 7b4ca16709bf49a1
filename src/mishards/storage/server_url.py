"""URLs of clusters of servers: `scheme://[user:password@]host:port[,host:port]/prefix[?ca=…&…]`.

Invariant: what messages show of a URL holds neither its account nor its files.
"""

from __future__ import annotations

from typing import ClassVar, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from mishards.core.errors import ConfigError
from mishards.core.secret import Secret, redact

PREFIX = "mishards"
_FILES = ("ca", "cert", "key")


class ServerUrl(msgspec.Struct, frozen=True):
    """Where a part of what a cluster of servers keeps lies; subclass it per system.

    Attributes:
        endpoints: host and port of each server that is named, in order.
        prefix: what all keys begin with, up to their first slash.
        ca: file of the certificates that the server is checked by; given, TLS is used.
        cert: file of the client's certificate, and `key` of its key; empty for none.
        user: whose account is used, with `password`; empty for none.
    """

    scheme: ClassVar[str]
    default_port: ClassVar[int]

    endpoints: tuple[tuple[str, int], ...]
    prefix: str = PREFIX
    ca: str = ""
    cert: str = ""
    key: str = ""
    user: str = ""
    password: Secret = Secret()

    @property
    def hosts(self) -> str:
        """The endpoints as in a URL."""
        return ",".join(
            f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.endpoints
        )

    @property
    def name(self) -> str:
        """The URL as messages show it: without account and files."""
        return f"{self.scheme}://{self.hosts}/{self.prefix}"


U = TypeVar("U", bound=ServerUrl)


def parse_server_url(kind: type[U], url: str) -> U:
    """The parts of `url`; a missing port is the kind's, a missing prefix `mishards`.

    Raises:
        ConfigError: it is none; names it and what is wrong.
    """
    parts = urlsplit(url)
    if parts.scheme != kind.scheme:
        raise _invalid(kind, url, f"expected {kind.scheme}://, not {parts.scheme}://")
    account, _, members = parts.netloc.rpartition("@")
    user, separator, password = account.partition(":")
    if account and not (user and separator):
        raise _invalid(kind, f"{kind.scheme}://…@{members}", "an account is user:password")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := sorted(options.keys() - set(_FILES)):
        raise _invalid(
            kind, url, f"unknown parameter {unknown[0]!r}; known are: {', '.join(_FILES)}"
        )
    if ("cert" in options) != ("key" in options):
        raise _invalid(kind, url, "cert and key need each other")
    if "cert" in options and "ca" not in options:
        raise _invalid(kind, url, "cert and key need ca")
    return kind(
        endpoints=tuple(_endpoint(kind, url, text) for text in members.split(",")),
        prefix=unquote(parts.path).strip("/") or PREFIX,
        user=unquote(user),
        password=Secret(unquote(password)),
        **options,
    )


def _endpoint(kind: type[ServerUrl], url: str, text: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise _invalid(kind, url, str(error)) from error
    if not host:
        raise _invalid(kind, url, "an empty host; expected host:port[,host:port]")
    return host, port or kind.default_port


def _invalid(kind: type[ServerUrl], url: str, reason: str) -> ConfigError:
    return ConfigError(f"invalid {kind.scheme} URL {redact(url)!r}: {reason}")
