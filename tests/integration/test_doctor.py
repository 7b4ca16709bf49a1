"""`mishards doctor` on real clusters: it says nothing of a healthy one, and names what is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mishards.testing.client_rows import connected, create, insert
from mishards.testing.local_cluster import LocalCluster, wait_for


def diagnosed(cluster: LocalCluster, *options: str) -> tuple[int, list[dict[str, Any]]]:
    """Exit code and findings."""
    code, output, errors = cluster.run(
        "doctor", "--json", "--data", str(cluster.data), *options, environ=HTTP
    )
    assert output, errors
    return code, json.loads(output)["findings"]


def wrong(findings: list[dict[str, Any]]) -> set[tuple[str, str]]:
    """Check and level of what is worse than a note."""
    return {(f["check"], f["level"]) for f in findings if f["level"] in ("warning", "failure")}


def seen(findings: list[dict[str, Any]], check: str, level: str) -> str:
    """What one check saw."""
    return "\n".join(f["seen"] for f in findings if (f["check"], f["level"]) == (check, level))


HTTP: dict[str, str] = {}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A writer, two readers and a proxy, with a loaded collection."""
    with LocalCluster(tmp_path_factory.mktemp("served")) as cluster:
        cluster.start_all(readers=2)
        with connected(cluster.uri) as client:
            create(client, "c", "HNSW")
            insert(client, "c", range(200))
            client.flush("c")
        wait_for(lambda: all(cluster.serving("c")), "a reader has each segment open")
        yield cluster


def test_nothing_is_said_of_a_healthy_cluster(served: LocalCluster) -> None:
    code, findings = diagnosed(served)
    assert wrong(findings) == set()
    assert code == 0
    assert "writer leads log 0" in seen(findings, "election.leader", "ok")
    assert "4 nodes" in seen(findings, "discovery.registry", "ok")


def test_without_a_cluster_it_says_so_and_makes_none(tmp_path: Path) -> None:
    with LocalCluster(tmp_path / "none") as cluster:
        code, findings = diagnosed(cluster)
        assert code == 3
        assert {("storage.reached", "failure"), ("database.reached", "failure")} <= wrong(findings)
        assert not cluster.data.exists()
