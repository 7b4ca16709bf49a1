"""ZooKeeper behind TLS that wants a certificate of its clients too, all made on the spot."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from mishards.core.errors import Unavailable
from mishards.discovery.zookeeper_client import ZooKeeperClient
from mishards.discovery.zookeeper_url import parse_zookeeper_url
from mishards.testing.local_cluster import wait_for
from mishards.testing.services.zookeeper import ZooKeeper


class TlsZooKeeper(ZooKeeper):
    """Serves with a certificate, which is its own authority, and takes clients that have it."""

    def __init__(self, certificate: Path, both: Path) -> None:
        super().__init__()
        self._certificate, self._both = certificate, both

    def settings(self) -> dict[str, object]:
        found = super().settings()
        return {
            **{key: value for key, value in found.items() if not key.startswith("clientPort")},
            "secureClientPort": self.port,
            "secureClientPortAddress": "127.0.0.1",
            "serverCnxnFactory": "org.apache.zookeeper.server.NettyServerCnxnFactory",
            "ssl.keyStore.location": self._both,
            "ssl.keyStore.type": "PEM",
            "ssl.trustStore.location": self._certificate,
            "ssl.trustStore.type": "PEM",
            "ssl.clientAuth": "need",
        }

    def answers(self) -> bool:
        # To the end of the handshake: its first takes the server a while.
        context = ssl.create_default_context(cafile=self._certificate)
        context.load_cert_chain(self._both)
        try:
            with (
                socket.create_connection(("127.0.0.1", self.port), timeout=10) as plain,
                context.wrap_socket(plain, server_hostname="localhost"),
            ):
                return True
        except OSError:
            return False


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed, and it makes the certificate")
    pem, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "1", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", str(key), "-out", str(pem)],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return pem, key


@pytest.fixture
def server(
    zookeeper: ZooKeeper, files: tuple[Path, Path], tmp_path: Path
) -> Iterator[TlsZooKeeper]:
    pem, key = files
    both = tmp_path / "both.pem"
    both.write_bytes(key.read_bytes() + pem.read_bytes())
    with TlsZooKeeper(pem, both) as found:
        yield found


def test_certificates_of_both_sides_are_used(
    server: TlsZooKeeper, files: tuple[Path, Path]
) -> None:
    pem, key = files
    url = f"{server.database('one')}?ca={pem}&cert={pem}&key={key}"
    client = ZooKeeperClient(parse_zookeeper_url(url), session_s=30)

    def connected() -> bool:
        with suppress(Unavailable):
            client.ask(lambda kazoo: kazoo.exists_async("/"))
            return True
        return False

    wait_for(connected, "the server, young and slow as it is, begins a session")
    path = client.ask(lambda kazoo: kazoo.create_async("/one/two", b"value", makepath=True))
    assert client.ask(lambda kazoo: kazoo.get_async(path))[0] == b"value"
    client.close()
