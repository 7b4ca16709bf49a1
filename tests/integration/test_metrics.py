"""Metrics of real processes: each role's page says what was done, as Prometheus's parser reads."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families as families
from pymilvus import MilvusClient, MilvusException

from mishards.observability.metrics import DECLARED
from mishards.testing.client_rows import connected, create, insert, nearest, query_of
from mishards.testing.local_cluster import LocalCluster, wait_for

OPEN = "application/openmetrics-text; version=1.0.0"
ROWS, DELETED, SEARCHES = 200, 10, 30
DECLARED_NAMES = {metric.name for metric in DECLARED}
SUSPICIONS = "mishards_reader_suspicions_total"
"""A proxy's, of readers."""


class Page:
    """What a node says at `/metrics`."""

    def __init__(self, address: str) -> None:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=20) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain")
            self._families = {one.name: one for one in families(answer.read().decode())}

    @property
    def names(self) -> set[str]:
        """Of the metrics as they are declared."""
        return {
            f"{name}_total" if family.type == "counter" else name
            for name, family in self._families.items()
            if name.startswith("mishards_")
        }

    def value(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples with these labels; 0 where there is none."""
        family = self._families.get(name.removesuffix("_total").removesuffix("_count"))
        return sum(
            sample.value
            for sample in ([] if family is None else family.samples)
            if sample.name == name and labels.items() <= sample.labels.items()
        )


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """One writer, one reader, one proxy; each with a page."""
    settings = ("http.enabled=true", "http.port=0")
    with LocalCluster(tmp_path_factory.mktemp("measured"), *settings) as found:
        found.start_all()
        with connected(found.uri) as client:
            use(client)
        yield found


def use(client: MilvusClient) -> None:
    """A number of everything."""
    create(client, "measured")
    insert(client, "measured", range(ROWS))
    client.delete("measured", ids=list(range(DELETED)))
    for number in range(SEARCHES):
        nearest(client, "measured", query_of(number))
    with pytest.raises(MilvusException):
        nearest(client, "nowhere", query_of(0))
    client.flush("measured")


def page(cluster: LocalCluster, role: str) -> Page:
    found = next(node for node in cluster.nodes().values() if node.roles == (role,))
    return Page(found.http)


def test_the_proxy_counts_the_calls_and_their_stages(cluster: LocalCluster) -> None:
    found = page(cluster, "proxy")
    calls = "mishards_requests_total"
    assert found.value(calls, method="Search", code="0") == SEARCHES
    assert found.value(calls, method="Search", code="100") == 1
    assert found.value(calls, method="Insert", code="0") == 1
    took = "mishards_request_duration_seconds_count"
    assert found.value(took, method="Search") == SEARCHES + 1
    assert found.value("mishards_requests_in_flight") == 0
    assert found.value("mishards_searches_total") == SEARCHES
    assert found.value("mishards_search_queries_total") == SEARCHES
    for stage in ("do_search", "do_merge"):
        stages = "mishards_search_stage_duration_seconds_count"
        assert found.value(stages, stage=stage) == SEARCHES
    assert found.value("mishards_plan_cache_entries") == 1
    assert found.value("mishards_log_has_leader", log="0") == 1
    assert found.value("mishards_collections") == 1


def test_the_reader_tells_of_sub_requests_and_of_what_it_holds(cluster: LocalCluster) -> None:
    found = page(cluster, "reader")
    # Where a thread of the proxy did not get its answer in time, the loop asked again.
    assert found.value("mishards_reader_requests_total", method="search", code="0") >= SEARCHES
    searched = "mishards_reader_stage_duration_seconds_count"
    assert found.value(searched, stage="search") >= SEARCHES
    wait_for(
        lambda: page(cluster, "reader").value("mishards_reader_segments", state="open") == 1,
        "the flushed segment is open",
    )
    wait_for(
        lambda: page(cluster, "reader").value("mishards_reader_growing_rows") == 0,
        "the flushed rows are let go",
    )
    assert found.value("mishards_reader_segments", state="quarantine") == 0


def test_the_writer_tells_of_its_log_and_of_what_it_stored(cluster: LocalCluster) -> None:
    found = page(cluster, "writer")
    rows = "mishards_writer_rows_total"
    assert found.value(rows, operation="inserted") == ROWS
    assert found.value(rows, operation="deleted") == DELETED
    assert found.value("mishards_rows", collection="measured", state="sealed") == ROWS - DELETED
    assert found.value("mishards_writer_flushes_total", outcome="done") == 1
    assert found.value("mishards_writer_flushed_rows_total") == ROWS - DELETED
    assert found.value("mishards_leader", log="0") == 1
    assert found.value("mishards_reigns_total", log="0") == 1
    assert found.value("mishards_epoch", log="0") == 1
    assert found.value("mishards_storage_operations_total", operation="create", outcome="ok") > 1
    assert found.value("mishards_storage_written_bytes_total") > ROWS
    assert found.value("mishards_metadata_operations_total", operation="commit", outcome="ok") > 1
    assert found.value("mishards_metadata_up") == 1
    assert found.value("mishards_disk_free_bytes", folder="data") > 0


def test_followers_come_to_where_the_leader_is(cluster: LocalCluster) -> None:
    def together() -> bool:
        seen = [
            page(cluster, role).value("mishards_log_last_entry", log="0", role=role)
            for role in ("writer", "reader", "proxy")
        ]
        return seen[0] > 0 and seen[0] == seen[1] == seen[2]

    wait_for(together, "all roles are at one entry")
    assert page(cluster, "reader").value("mishards_log_lag_entries", log="0") <= 1


def test_a_role_shows_what_is_declared_and_nothing_of_the_others(cluster: LocalCluster) -> None:
    theirs = {
        "writer": "mishards_writer_",
        "reader": "mishards_reader_",
        "proxy": "mishards_search",
    }
    for role in theirs:
        found = page(cluster, role)
        assert found.names <= DECLARED_NAMES
        assert found.value("mishards_node_ready") == 1
        assert found.value("mishards_memory_bytes", kind="anonymous") > 1e6
        for other, prefix in theirs.items():
            shown = any(name.startswith(prefix) for name in found.names - {SUSPICIONS})
            assert shown == (other == role)


def test_open_metrics_are_given_to_who_asks_for_them(cluster: LocalCluster) -> None:
    address = next(iter(cluster.nodes().values())).http
    request = urllib.request.Request(f"http://{address}/metrics", headers={"Accept": OPEN})
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
        found = {family.name for family in open_families(answer.read().decode())}
    assert "mishards_node_ready" in found
