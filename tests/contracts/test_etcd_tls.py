"""Etcd behind TLS that wants a certificate of its clients too, all made on the spot."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import requests

from mishards.core.errors import Unavailable
from mishards.storage.etcd_client import EtcdClient
from mishards.storage.etcd_requests import put, read
from mishards.storage.etcd_url import parse_etcd_url
from mishards.testing.certificates import Authority
from mishards.testing.services.etcd import Etcd
from mishards.tls.files import TlsFiles


class TlsEtcd(Etcd):
    """Serves with a certificate, and takes clients that have one of the same authority."""

    def __init__(self, files: TlsFiles) -> None:
        super().__init__()
        self._files = files

    def command(self) -> Sequence[str]:
        files = self._files
        plain, tls = f"http://{self.endpoint}", f"https://{self.endpoint}"
        return (
            *(tls if word == plain else word for word in super().command()),
            *("--cert-file", files.certificate, "--key-file", files.key),
            *("--client-cert-auth", "--trusted-ca-file", files.ca),
        )

    def healthy(self) -> bool:
        try:
            return requests.get(
                f"https://{self.endpoint}/health",
                verify=self._files.ca,
                cert=(self._files.certificate, self._files.key),
                timeout=5,
            ).ok
        except requests.RequestException:
            return False


@pytest.fixture
def files(tmp_path: Path) -> TlsFiles:
    return Authority(tmp_path).issue()


@pytest.fixture
def server(etcd: Etcd, files: TlsFiles) -> Iterator[TlsEtcd]:
    with TlsEtcd(files) as found:
        yield found


def test_certificates_of_both_sides_are_used(server: TlsEtcd, files: TlsFiles) -> None:
    ca, pem, key = files.ca, files.certificate, files.key
    url = server.database("one")
    client = EtcdClient(parse_etcd_url(f"{url}?ca={ca}&cert={pem}&key={key}"), time.monotonic)
    client.write([], [put(b"key", b"value")])
    assert client.read(read(b"key")).ranges[0][0].value == b"value"
    client.close()
    for options in ("", f"?ca={ca}"):
        other = EtcdClient(parse_etcd_url(url + options), time.monotonic)
        with pytest.raises(Unavailable):
            other.read(read(b"key"))
        other.close()
