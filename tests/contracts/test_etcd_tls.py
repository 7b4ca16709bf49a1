"""Etcd behind TLS that wants a certificate of its clients too, all made on the spot."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import requests

from mishards.core.errors import Unavailable
from mishards.storage.etcd_client import EtcdClient
from mishards.storage.etcd_requests import put, read
from mishards.storage.etcd_url import parse_etcd_url
from mishards.testing.services.etcd import Etcd


class TlsEtcd(Etcd):
    """Serves with a certificate, which is its own authority, and takes clients that have it."""

    def __init__(self, certificate: Path, key: Path) -> None:
        super().__init__()
        self._files = (str(certificate), str(key))

    def command(self) -> Sequence[str]:
        certificate, key = self._files
        plain, tls = f"http://{self.endpoint}", f"https://{self.endpoint}"
        return (
            *(tls if word == plain else word for word in super().command()),
            *("--cert-file", certificate, "--key-file", key),
            *("--client-cert-auth", "--trusted-ca-file", certificate),
        )

    def healthy(self) -> bool:
        try:
            return requests.get(
                f"https://{self.endpoint}/health",
                verify=self._files[0],
                cert=self._files,
                timeout=5,
            ).ok
        except requests.RequestException:
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
def server(etcd: Etcd, files: tuple[Path, Path]) -> Iterator[TlsEtcd]:
    with TlsEtcd(*files) as found:
        yield found


def test_certificates_of_both_sides_are_used(server: TlsEtcd, files: tuple[Path, Path]) -> None:
    pem, key = files
    url = server.database("one")
    client = EtcdClient(parse_etcd_url(f"{url}?ca={pem}&cert={pem}&key={key}"), time.monotonic)
    client.write([], [put(b"key", b"value")])
    assert client.read(read(b"key")).ranges[0][0].value == b"value"
    client.close()
    for options in ("", f"?ca={pem}"):
        other = EtcdClient(parse_etcd_url(url + options), time.monotonic)
        with pytest.raises(Unavailable):
            other.read(read(b"key"))
        other.close()
