"""Addresses of the internal protocol: `tcp://host:port` and `unix:///path`."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from mishards.core.errors import ConfigError


def parse_address(address: str) -> Path | tuple[str, int]:
    """A socket file, or host and port.

    Raises:
        ConfigError: names the address and what is allowed.
    """
    parts = urlsplit(address)
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme == "unix" and not parts.netloc and parts.path.startswith("/"):
        return Path(parts.path)
    if parts.scheme == "tcp" and parts.hostname and port is not None:
        return parts.hostname, port
    raise ConfigError(f"invalid address {address!r}: tcp://host:port and unix:///path are allowed")
