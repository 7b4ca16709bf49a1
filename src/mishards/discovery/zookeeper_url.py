"""What a ZooKeeper URL says: `zookeeper://[user:password@]host:port[,host:port]/prefix[?ca=…]`."""

from __future__ import annotations

from typing import ClassVar

from mishards.storage.server_url import ServerUrl, parse_server_url


class ZooKeeperUrl(ServerUrl, frozen=True):
    """See `ServerUrl`; the account is one of ZooKeeper's scheme `digest`."""

    scheme: ClassVar[str] = "zookeeper"
    default_port: ClassVar[int] = 2181


def parse_zookeeper_url(url: str) -> ZooKeeperUrl:
    """The parts of `url`; a missing port is 2181, a missing prefix `mishards`.

    Raises:
        ConfigError: it is none; names it and what is wrong.
    """
    return parse_server_url(ZooKeeperUrl, url)
