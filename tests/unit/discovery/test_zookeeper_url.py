"""URLs of ZooKeeper: what is shared with other systems is tested with etcd's."""

from __future__ import annotations

import pytest

from mishards.core.errors import ConfigError
from mishards.discovery.zookeeper_url import ZooKeeperUrl, parse_zookeeper_url


def test_servers_and_prefix_are_read() -> None:
    found = parse_zookeeper_url("zookeeper://a:1,b,[::1]:3/lab/one")
    assert found == ZooKeeperUrl((("a", 1), ("b", 2181), ("::1", 3)), "lab/one")
    assert (found.hosts, found.name) == (
        "a:1,b:2181,[::1]:3",
        "zookeeper://a:1,b:2181,[::1]:3/lab/one",
    )


def test_another_scheme_is_refused() -> None:
    with pytest.raises(
        ConfigError, match="invalid zookeeper URL 'sqlite:///x': expected zookeeper"
    ):
        parse_zookeeper_url("sqlite:///x")
