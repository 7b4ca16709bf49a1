from __future__ import annotations

from pathlib import Path

import pytest

from mishards.core.errors import ConfigError
from mishards.rpc.address import advertised, parse_address


def test_addresses_are_sockets_or_hosts_and_ports() -> None:
    assert parse_address("unix:///run/a.sock") == Path("/run/a.sock")
    assert parse_address("tcp://[::1]:80") == ("::1", 80)


@pytest.mark.parametrize("address", ["", "tcp://", "tcp://a", "tcp://a:x", "unix://a/b", "a:1"])
def test_others_are_named(address: str) -> None:
    with pytest.raises(ConfigError, match=r"tcp://host:port and unix:///path are allowed"):
        parse_address(address)


@pytest.mark.parametrize(
    ("listening", "advertise", "known"),
    [
        ("tcp://10.0.0.1:7000", "", "tcp://10.0.0.1:7000"),
        ("unix:///run/a.sock", "", "unix:///run/a.sock"),
        ("tcp://0.0.0.0:7000", "tcp://node-1:0", "tcp://node-1:7000"),
        ("tcp://[::]:7000", "tcp://[fe80::1]:0", "tcp://[fe80::1]:7000"),
        ("tcp://10.0.0.1:7000", "tcp://outside:9000", "tcp://outside:9000"),
    ],
)
def test_a_node_is_known_by_what_it_advertises(listening: str, advertise: str, known: str) -> None:
    assert advertised(listening, advertise) == known


@pytest.mark.parametrize("listening", ["tcp://0.0.0.0:7000", "tcp://[::]:7000"])
def test_all_addresses_of_a_machine_are_none_for_others(listening: str) -> None:
    with pytest.raises(ConfigError, match=r"node\.advertise"):
        advertised(listening)
    with pytest.raises(ConfigError, match=r"node\.advertise"):
        advertised("tcp://10.0.0.1:7000", listening)


def test_what_is_advertised_has_to_be_an_address() -> None:
    with pytest.raises(ConfigError, match="node-1"):
        advertised("tcp://10.0.0.1:7000", "node-1")
