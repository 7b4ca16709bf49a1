"""A cluster of processes over mutual TLS: it serves, and nobody else gets in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pymilvus import MilvusClient

from mishards.testing.certificates import Authority
from mishards.testing.local_cluster import LocalCluster, wait_for
from mishards.tls.files import TlsFiles

ROWS = [{"id": n, "vector": [float(n), 1.0]} for n in range(50)]


def settings(files: TlsFiles) -> tuple[str, ...]:
    return (
        f"cluster.tls_certificate={files.certificate}",
        f"cluster.tls_key={files.key}",
        f"cluster.tls_ca={files.ca}",
    )


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ours")


@pytest.fixture
def cluster(authority: Authority, tmp_path: Path) -> Iterator[LocalCluster]:
    with LocalCluster(tmp_path / "cluster", *settings(authority.issue())) as found:
        yield found


def test_it_serves_and_a_process_of_another_authority_cannot_join(
    cluster: LocalCluster, tmp_path: Path
) -> None:
    cluster.start_all()
    client = MilvusClient(cluster.uri, timeout=30)
    client.create_collection("c", dimension=2, consistency_level="Strong")
    client.insert("c", ROWS)
    client.flush("c")
    assert len(client.query("c", filter="id >= 0", limit=100)) == 50

    foreign = settings(Authority(tmp_path, "foreign").issue())
    options = [word for setting in foreign for word in ("--set", setting)]
    intruder = cluster.start("reader", *options, name="intruder")
    wait_for(lambda: intruder.exit_code is not None, "the intruder has ended")
    assert intruder.exit_code == 1
    assert "do not trust each other" in intruder.output()
    assert "Traceback" not in intruder.output()

    assert set(cluster.nodes()) == {"writer", "reader-1", "proxy"}
    assert len(client.search("c", [[3.0, 1.0]], limit=50)[0]) == 50
    client.close()
