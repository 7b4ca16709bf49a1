"""What an etcd URL says: `etcd://[user:password@]host:port[,host:port]/prefix[?ca=…&cert=…&key=…]`."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from mishards.core.errors import ConfigError

PORT = 2379
PREFIX = "mishards"
_FILES = ("ca", "cert", "key")


class EtcdUrl(msgspec.Struct, frozen=True):
    """Where a part of an etcd cluster's key space lies.

    Attributes:
        endpoints: host and port of each member that is named, in order.
        prefix: what all keys begin with, up to their first slash.
        ca: file of the certificates that the server is checked by; given, TLS is used.
        cert: file of the client's certificate, and `key` of its key; empty for none.
        user: whose account is used, with `password`; empty for none.
    """

    endpoints: tuple[tuple[str, int], ...]
    prefix: str = PREFIX
    ca: str = ""
    cert: str = ""
    key: str = ""
    user: str = ""
    password: str = ""

    @property
    def name(self) -> str:
        """The URL as messages show it: without account and files."""
        hosts = (
            f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.endpoints
        )
        return f"etcd://{','.join(hosts)}/{self.prefix}"


def parse_etcd_url(url: str) -> EtcdUrl:
    """The parts of `url`; a missing port is 2379, a missing prefix `mishards`.

    Raises:
        ConfigError: it is none; names it and what is wrong.
    """
    parts = urlsplit(url)
    if parts.scheme != "etcd":
        raise _invalid(url, f"expected etcd://, not {parts.scheme}://")
    account, _, members = parts.netloc.rpartition("@")
    user, separator, password = account.partition(":")
    if account and not (user and separator):
        raise _invalid("etcd://…@" + members, "an account is user:password")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := sorted(options.keys() - set(_FILES)):
        raise _invalid(url, f"unknown parameter {unknown[0]!r}; known are: {', '.join(_FILES)}")
    if ("cert" in options) != ("key" in options):
        raise _invalid(url, "cert and key need each other")
    if "cert" in options and "ca" not in options:
        raise _invalid(url, "cert and key need ca")
    return EtcdUrl(
        endpoints=tuple(_endpoint(url, text) for text in members.split(",")),
        prefix=unquote(parts.path).strip("/") or PREFIX,
        user=unquote(user),
        password=unquote(password),
        **options,
    )


def _endpoint(url: str, text: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise _invalid(url, str(error)) from error
    if not host:
        raise _invalid(url, "an empty host; expected host:port[,host:port]")
    return host, port or PORT


def _invalid(url: str, reason: str) -> ConfigError:
    return ConfigError(f"invalid etcd URL {url!r}: {reason}")
