"""The commands under `deploy/tls/` make certificates that nodes, proxies and clients take."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from pymilvus import MilvusClient

import mishards
from mishards.server.config import load_config
from mishards.tls.cluster import ClusterTls
from mishards.tls.files import TlsFiles, check

EXAMPLE = Path(__file__).resolve().parents[2] / "deploy" / "tls"
INSTALLED = Path("/etc/mishards/tls")


def make(folder: Path) -> dict[str, bytes]:
    """Run the script; all files that are there then."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed, and it makes the certificates")
    command = [str(EXAMPLE / "make-certificates.sh"), str(folder), "localhost", "127.0.0.1", "::1"]
    subprocess.run(command, check=True, timeout=60)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_is_made_is_what_the_example_names_and_can_be_renewed(tmp_path: Path) -> None:
    before = make(tmp_path)
    for name in ("metadata-url", "secret"):
        (tmp_path / name).write_text("sqlite:////x")
    text = (EXAMPLE / "mishards.toml").read_text()
    text = text.replace(str(INSTALLED), str(tmp_path)).replace(str(INSTALLED.parent), str(tmp_path))
    toml = tmp_path / "mishards.toml"
    toml.write_text(text)
    config = load_config(toml, environ={}).config
    cluster, proxy = config.cluster, config.proxy
    assert cluster.secret
    nodes = TlsFiles(certificate=cluster.tls_certificate, key=cluster.tls_key, ca=cluster.tls_ca)
    ClusterTls(nodes)
    check(TlsFiles(certificate=proxy.tls_certificate, key=proxy.tls_key, ca=proxy.tls_client_ca))

    after = {name: data for name, data in make(tmp_path).items() if name in before}
    kept = {name for name in before if before[name] == after[name]}
    assert before.keys() - kept == {"node.pem", "proxy.pem", "client.pem"}
    ClusterTls(nodes)
    assert all((tmp_path / name).stat().st_mode & 0o077 == 0 for name in before)


def test_a_client_with_its_certificate_is_served_under_the_names_given(tmp_path: Path) -> None:
    make(tmp_path)
    files = {
        "proxy__tls_certificate": str(tmp_path / "proxy.pem"),
        "proxy__tls_key": str(tmp_path / "proxy-key.pem"),
        "proxy__tls_client_ca": str(tmp_path / "api-ca.pem"),
    }
    with mishards.start(tmp_path / "data", **files) as server:
        for host in ("localhost", "127.0.0.1"):
            client = MilvusClient(
                server.uri.replace("127.0.0.1", host),
                secure=True,
                ca_pem_path=str(tmp_path / "api-ca.pem"),
                client_pem_path=str(tmp_path / "client.pem"),
                client_key_path=str(tmp_path / "client-key.pem"),
                timeout=20,
            )
            assert client.list_collections() == []
            client.close()
