"""Options of the test suite, and the servers that tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TypeVar

import pytest
from hypothesis import settings

from mishards.testing.consul_server import ConsulServer
from mishards.testing.services.balancer import HaProxy, Nginx
from mishards.testing.services.etcd import Etcd
from mishards.testing.services.kubernetes import KubernetesServer
from mishards.testing.services.mariadb import MariaDb
from mishards.testing.services.postgresql import PostgreSql
from mishards.testing.services.prometheus import Alertmanager, Prometheus
from mishards.testing.services.seaweedfs import SeaweedFs
from mishards.testing.services.server import Server
from mishards.testing.services.zookeeper import ZooKeeper

S = TypeVar("S", bound=Server)

# How long an example takes says more of the machine than of the code.
settings.register_profile("any_machine", deadline=None)
settings.load_profile("any_machine")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("simulation")
    group.addoption("--seeds", type=int, default=200, help="simulate the seeds below this number")
    group.addoption("--seed", type=int, default=None, help="simulate this seed alone")
    parser.getgroup("faults").addoption(
        "--endure", type=float, default=60.0, help="seconds of mixed load and faults"
    )


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDb]:
    """A running server; a test takes a database of its own, and leaves the server running."""
    with _installed(MariaDb) as server:
        yield server


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSql]:
    """As `mariadb`."""
    with _installed(PostgreSql) as server:
        yield server


@pytest.fixture(scope="session")
def etcd() -> Iterator[Etcd]:
    """As `mariadb`; a test takes a prefix of its own."""
    with _installed(Etcd) as server:
        yield server


@pytest.fixture(scope="session")
def seaweedfs() -> Iterator[SeaweedFs]:
    """As `mariadb`; a test takes a prefix of its own."""
    with _installed(SeaweedFs) as server:
        yield server


@pytest.fixture(scope="session")
def zookeeper() -> Iterator[ZooKeeper]:
    """As `etcd`."""
    with _installed(ZooKeeper) as server:
        yield server


@pytest.fixture(scope="module")
def nginx() -> Iterator[Nginx]:
    """One that is configured and started by the module's tests."""
    found = _installed(Nginx)
    yield found
    found.close()


@pytest.fixture(scope="module")
def haproxy() -> Iterator[HaProxy]:
    """As `nginx`."""
    found = _installed(HaProxy)
    yield found
    found.close()


@pytest.fixture(scope="module")
def prometheus() -> Iterator[Prometheus]:
    """As `nginx`."""
    found = _installed(Prometheus)
    yield found
    found.close()


@pytest.fixture(scope="module")
def alertmanager() -> Iterator[Alertmanager]:
    """As `nginx`."""
    found = _installed(Alertmanager)
    yield found
    found.close()


@pytest.fixture(scope="session")
def kubernetes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesServer]:
    """A running API server of the test kit; a test takes a namespace of its own."""
    server = KubernetesServer(tmp_path_factory.mktemp("kubernetes")).start()
    yield server
    server.close()


@pytest.fixture(scope="session")
def consul() -> Iterator[ConsulServer]:
    """A server that answers as Consul does; a test takes a prefix of its own."""
    with ConsulServer() as server:
        yield server


@pytest.fixture(scope="session")
def real_consul() -> str:
    """`consul://host:port` of a real Consul, where one is at hand."""
    url = os.environ.get("MISHARDS_TEST_CONSUL", "")
    if not url:
        pytest.skip("MISHARDS_TEST_CONSUL names no Consul, as consul://[token:…@]host:port")
    return url.rstrip("/")


def _installed(kind: type[S]) -> S:
    """A server of that kind; where its program is missing the test skips, on CI it fails."""
    lack = kind.missing()
    if lack and os.environ.get("REQUIRE_SERVICES") == "1":
        pytest.fail(f"{lack}; .ci/services installs it")
    if lack:
        pytest.skip(f"{lack}; .ci/services installs it")
    return kind()
