"""Addresses of the internal protocol: `tcp://host:port` and `unix:///path`."""

from __future__ import annotations

from ipaddress import ip_address
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


def advertised(listening: str, advertise: str = "") -> str:
    """The address that others are told of a node.

    Args:
        listening: where it listens, its port known.
        advertise: what was chosen, with port 0 for the one it listens on; empty for `listening`.

    Raises:
        ConfigError: nobody reaches a node there; names the address.
    """
    if not advertise:
        if _is_any(listening):
            raise ConfigError(
                f"a node that listens on {listening!r} has to say with node.advertise at which "
                "address others reach it"
            )
        return listening
    known = parse_address(advertise)
    if _is_any(advertise):
        raise ConfigError(f"nobody reaches a node at {advertise!r}, which node.advertise says")
    if not isinstance(known, Path) and known[1] == 0:
        return f"{advertise.removesuffix(':0')}:{urlsplit(listening).port or 0}"
    return advertise


def _is_any(address: str) -> bool:
    """Whether an address stands for all of a machine."""
    try:
        return ip_address(urlsplit(address).hostname or "").is_unspecified
    except ValueError:
        return False
