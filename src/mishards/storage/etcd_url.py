"""What an etcd URL says: `etcd://[user:password@]host:port[,host:port]/prefix[?ca=…&cert=…&key=…]`."""

from __future__ import annotations

from typing import ClassVar

from mishards.storage.server_url import ServerUrl, parse_server_url


class EtcdUrl(ServerUrl, frozen=True):
    """See `ServerUrl`."""

    scheme: ClassVar[str] = "etcd"
    default_port: ClassVar[int] = 2379


def parse_etcd_url(url: str) -> EtcdUrl:
    """The parts of `url`; a missing port is 2379, a missing prefix `mishards`.

    Raises:
        ConfigError: it is none; names it and what is wrong.
    """
    return parse_server_url(EtcdUrl, url)
