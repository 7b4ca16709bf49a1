"""ZooKeeper behind TLS that wants a certificate of its clients too, all made on the spot."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from mishards.core.errors import Unavailable
from mishards.discovery.zookeeper_client import ZooKeeperClient
from mishards.discovery.zookeeper_url import parse_zookeeper_url
from mishards.testing.certificates import Authority
from mishards.testing.local_cluster import wait_for
from mishards.testing.services.zookeeper import ZooKeeper
from mishards.tls.files import TlsFiles


class TlsZooKeeper(ZooKeeper):
    """Serves with a certificate, and takes clients that have one of the same authority."""

    def __init__(self, files: TlsFiles, both: Path) -> None:
        super().__init__()
        self._files, self._both = files, both

    def settings(self) -> dict[str, object]:
        found = super().settings()
        return {
            **{key: value for key, value in found.items() if not key.startswith("clientPort")},
            "secureClientPort": self.port,
            "secureClientPortAddress": "127.0.0.1",
            "serverCnxnFactory": "org.apache.zookeeper.server.NettyServerCnxnFactory",
            "ssl.keyStore.location": self._both,
            "ssl.keyStore.type": "PEM",
            "ssl.trustStore.location": self._files.ca,
            "ssl.trustStore.type": "PEM",
            "ssl.clientAuth": "need",
        }

    def answers(self) -> bool:
        # To the end of the handshake: its first takes the server a while.
        context = ssl.create_default_context(cafile=self._files.ca)
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
def files(tmp_path: Path) -> TlsFiles:
    return Authority(tmp_path).issue()


@pytest.fixture
def server(zookeeper: ZooKeeper, files: TlsFiles, tmp_path: Path) -> Iterator[TlsZooKeeper]:
    # ZooKeeper reads keys in the form of PKCS 8 alone, before their certificates.
    key = load_pem_private_key(Path(files.key).read_bytes(), None)
    form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    both = tmp_path / "both.pem"
    both.write_bytes(key.private_bytes(*form) + Path(files.certificate).read_bytes())
    with TlsZooKeeper(files, both) as found:
        yield found


def test_certificates_of_both_sides_are_used(server: TlsZooKeeper, files: TlsFiles) -> None:
    url = f"{server.database('one')}?ca={files.ca}&cert={files.certificate}&key={files.key}"
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
