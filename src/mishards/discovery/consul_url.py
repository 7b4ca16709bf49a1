"""What a Consul URL says: `consul://[token:secret@]host:port/prefix[?ca=…&cert=…&key=…]`."""

from __future__ import annotations

import re
from typing import ClassVar

from mishards.core.errors import ConfigError
from mishards.storage.server_url import ServerUrl, parse_server_url

_TOKEN = "token"


class ConsulUrl(ServerUrl, frozen=True):
    """See `ServerUrl`; the one server is the agent of this machine, the password an ACL token."""

    scheme: ClassVar[str] = "consul"
    default_port: ClassVar[int] = 8500

    @property
    def service(self) -> str:
        """The name under which nodes are registered: the prefix as a label of DNS."""
        return re.sub(r"[^A-Za-z0-9-]+", "-", self.prefix).strip("-")


def parse_consul_url(url: str) -> ConsulUrl:
    """The parts of `url`; a missing port is 8500, a missing prefix `mishards`.

    Raises:
        ConfigError: it is none; names it and what is wrong.
    """
    parsed = parse_server_url(ConsulUrl, url)
    if len(parsed.endpoints) > 1:
        raise ConfigError(
            f"invalid consul URL {parsed.name!r}: one agent is expected, that of the machine"
        )
    if parsed.user not in ("", _TOKEN):
        raise ConfigError(f"invalid consul URL {parsed.name!r}: an account is token:<ACL token>")
    if not parsed.service:
        raise ConfigError(f"invalid consul URL {parsed.name!r}: a prefix has a letter or digit")
    return parsed
