"""pymilvus against an instance that speaks TLS: one way, and with a certificate of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymilvus import MilvusClient
from pymilvus.exceptions import MilvusException

import mishards
from mishards.core.errors import ConfigError
from mishards.testing.certificates import Authority

ROWS = [{"id": n, "vector": [float(n), 0.0]} for n in range(5)]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def uri(authority: Authority, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """An instance whose clients need a certificate where the test's parameter says so."""
    files = authority.issue("server")
    options = {
        "proxy__tls_certificate": files.certificate,
        "proxy__tls_key": files.key,
        "proxy__tls_client_ca": authority.ca if request.param == "mutual" else "",
    }
    with mishards.start(tmp_path / "data", **options) as server:
        yield server.uri


def used(uri: str, **files: Any) -> None:
    client = MilvusClient(uri, secure=True, timeout=20, **files)
    client.create_collection("c", dimension=2, consistency_level="Strong")
    client.insert("c", ROWS)
    found = client.search("c", [[3.0, 0.1]], limit=1, search_params={"metric_type": "COSINE"})
    assert len(found[0]) == 1
    assert len(client.query("c", filter="id >= 0")) == 5
    client.close()


@pytest.mark.parametrize("uri", ["one way"], indirect=True)
def test_one_way(uri: str, authority: Authority) -> None:
    assert uri.startswith("https://127.0.0.1:")
    used(uri, server_pem_path=authority.ca)


@pytest.mark.parametrize("uri", ["mutual"], indirect=True)
def test_mutual(uri: str, authority: Authority) -> None:
    own = authority.issue("client")
    with pytest.raises(MilvusException):
        MilvusClient(uri, secure=True, server_pem_path=authority.ca, timeout=1)
    used(
        uri,
        ca_pem_path=authority.ca,
        client_pem_path=own.certificate,
        client_key_path=own.key,
    )


def test_a_start_with_files_of_no_use_says_which(authority: Authority, tmp_path: Path) -> None:
    one, other = authority.issue("one"), authority.issue("other")
    with pytest.raises(ConfigError, match=r"other-key\.pem' does not belong"):
        mishards.start(
            tmp_path / "data", proxy__tls_certificate=one.certificate, proxy__tls_key=other.key
        )
