"""Alerts in earnest: a cluster, Prometheus, Alertmanager and whom that tells.

The rules are those of `deploy/prometheus`, with their times divided, and every cause is a real one.
Alerts whose causes take longer, or S3, are tried in `tests/integration/test_alert_rules.py` alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest
from pymilvus import MilvusClient

from mishards.testing.client_rows import connected, create, insert, nearest, query_of
from mishards.testing.local_cluster import free_port, wait_for
from mishards.testing.named_cluster import NamedCluster
from mishards.testing.rule_times import RULES, scaled
from mishards.testing.services.prometheus import Alertmanager, Prometheus
from mishards.testing.webhook import Webhook

pytestmark = pytest.mark.timeout(300)

WAITS, WINDOWS = 300, 60
"""What has to last for ten minutes has to last for two seconds, and five of these are looked at."""
SCRAPES = "500ms"
NODES = ("writer-1", "reader-1", "reader-2", "proxy-1")
ROWS = 100
ROUTES = """
route:
  {receiver: tests, group_by: [...], group_wait: 0s, group_interval: 250ms, repeat_interval: 1h}
receivers:
  - name: tests
    webhook_configs: [{url: %s}]
"""


class Watched(NamedTuple):
    cluster: NamedCluster
    prometheus: Prometheus
    told: Webhook
    client: MilvusClient


@pytest.fixture(scope="module")
def watched(
    prometheus: Prometheus,
    alertmanager: Alertmanager,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Watched]:
    """A cluster with rows in segments, all of it scraped; every test leaves it whole."""
    folder = tmp_path_factory.mktemp("alerts")
    with (
        Webhook() as told,
        NamedCluster(folder / "cluster") as cluster,
    ):
        for name in NODES:
            http = ("http.enabled=true", f"http.port={free_port()}")
            cluster.add(name, *(word for one in http for word in ("--set", one)))
        for name in NODES:
            cluster[name].wait_ready()
        alertmanager.configure(alertmanager=ROUTES % told.url)
        alertmanager.start()
        prometheus.configure(
            rules=scaled(RULES.read_text(encoding="utf-8"), waits=WAITS, windows=WINDOWS),
            prometheus=configuration(cluster, alertmanager),
        )
        prometheus.start()
        with connected(cluster.uri) as client:
            create(client, "rows")
            insert(client, "rows", range(ROWS))
            client.flush("rows")
            wait_for(lambda: all_up(prometheus), "all nodes are scraped")
            yield Watched(cluster, prometheus, told, client)


def configuration(cluster: NamedCluster, alertmanager: Alertmanager) -> str:
    """What the command prints for the nodes that run."""
    options = ("--data", str(cluster.data), "--interval", SCRAPES)
    rules = ("--rules", "rules.yml", "--alertmanager", alertmanager.listen)
    code, text, error = cluster.run("config", "prometheus", *options, *rules)
    assert code == 0, error
    return text


def all_up(prometheus: Prometheus) -> bool:
    health = prometheus.targets()
    return len(health) == len(NODES) and set(health.values()) == {"up"}


def test_all_is_quiet_while_all_is_well(watched: Watched) -> None:
    """But for what is true of this cluster: nobody stands by."""
    nearest(watched.client, "rows", query_of(1))
    quiet = {"MishardsStandbyMissing"}
    wait_for(lambda: watched.prometheus.alerts() <= quiet, "nothing else fires")
    watched.told.expect("MishardsStandbyMissing", severity="warning")


def test_a_lost_reader(watched: Watched) -> None:
    cluster, _, told, _ = watched
    before = len(told.notices)
    cluster["reader-1"].kill()
    notice = told.expect("MishardsReaderLost", after=before, node="reader-1", severity="critical")
    assert notice.annotations["summary"] == "Reader reader-1 is gone"
    back = len(told.notices)
    cluster.restart("reader-1").wait_ready()
    told.expect("MishardsReaderLost", "resolved", after=back, node="reader-1")


def test_a_lost_writer(watched: Watched) -> None:
    cluster, _, told, _ = watched
    before = len(told.notices)
    cluster["writer-1"].kill()
    told.expect("MishardsWriterLost", after=before, node="writer-1")
    back = len(told.notices)
    cluster.restart("writer-1").wait_ready()
    told.expect("MishardsWriterLost", "resolved", after=back, node="writer-1")
