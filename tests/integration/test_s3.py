"""A whole instance whose data lies on S3: proxy, writer and readers as processes, a real store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from pymilvus import MilvusClient

from mishards.testing.client_rows import connected, create, insert, nearest, query_of, true_nearest
from mishards.testing.local_cluster import LocalCluster, wait_for
from mishards.testing.services.seaweedfs import SeaweedFs

ROWS = 100
MORE = 40


@pytest.fixture
def cluster(tmp_path: Path, seaweedfs: SeaweedFs) -> Iterator[LocalCluster]:
    """A cluster of this test alone, nothing started."""
    settings = (
        f"cluster.metadata=sqlite:///{tmp_path}/metadata.db",
        f"reader.cache_dir={tmp_path}/cache",
    )
    with LocalCluster(tmp_path / "c", *settings, url=seaweedfs.data(uuid4().hex)) as found:
        yield found


def check(client: MilvusClient, keys: list[int]) -> None:
    for number in range(3):
        assert nearest(client, "rows", query_of(number)) == true_nearest(keys, query_of(number))


def copies(cluster: LocalCluster) -> dict[str, int]:
    """Of the reader's copies of segments, when each was written."""
    files = (cluster.folder.parent / "cache").rglob("*.vectors")
    return {str(path): path.stat().st_mtime_ns for path in files}


def test_rows_are_written_sealed_found_and_found_again(cluster: LocalCluster) -> None:
    processes = cluster.start_all()
    with connected(cluster.uri) as client:
        create(client, "rows")
        insert(client, "rows", range(ROWS))
        client.flush("rows")
        client.delete("rows", ids=[0, 1])
        insert(client, "rows", range(ROWS, ROWS + MORE))
        keys = list(range(2, ROWS + MORE))
        check(client, keys)
        wait_for(lambda: copies(cluster), "a reader holds a copy")
    assert not list(cluster.folder.rglob("*.arrow")), "data lies beside S3"
    before = copies(cluster)
    for process in reversed(processes.values()):
        assert process.stop() == 0
    cluster.start_all()
    with connected(cluster.uri) as client:
        check(client, keys)
        insert(client, "rows", [ROWS + MORE])
        check(client, [*keys, ROWS + MORE])
    assert before.items() <= copies(cluster).items(), "a reader fetched anew what it had"
    said = "".join(path.read_text() for path in cluster.folder.glob("*.log"))
    assert "a-secret-key" not in said
