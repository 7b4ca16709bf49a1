"""Alerts in earnest: a cluster, Prometheus, Alertmanager and whom that tells.

The rules are those of `deploy/prometheus`, with their times divided, and every cause is a real one.
Alerts whose causes take longer, or S3, are tried in `tests/integration/test_alert_rules.py` alone.
"""

from __future__ import annotations

import json
import math
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
from pymilvus import MilvusClient, MilvusException

from mishards.testing.client_rows import connected, create, insert, nearest, query_of
from mishards.testing.disk import no_space
from mishards.testing.local_cluster import LocalProcess, free_port, wait_for
from mishards.testing.named_cluster import NamedCluster
from mishards.testing.rule_times import RULES, scaled
from mishards.testing.services.prometheus import Alertmanager, Prometheus
from mishards.testing.webhook import Webhook

pytestmark = pytest.mark.timeout(300)

WAITS, WINDOWS = 300, 60
"""What has to last for ten minutes has to last for two seconds, and five of these are looked at."""
SCRAPES = "500ms"
BOARD: dict[str, Any] = json.loads(
    (RULES.parents[1] / "grafana" / "mishards.json").read_text(encoding="utf-8")
)
NOT_HERE = {"Recall"}
"""Told where `recall.share` is set."""
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
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path | None]:
    """A file system of 64 MB; none where it cannot be mounted."""
    folder = tmp_path_factory.mktemp("disk")
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        yield None
        return
    if done.returncode != 0:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(scope="module")
def watched(
    prometheus: Prometheus,
    alertmanager: Alertmanager,
    disk: Path | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Watched]:
    """A cluster with rows in segments, all of it scraped; every test leaves it whole."""
    folder = tmp_path_factory.mktemp("alerts")
    with (
        Webhook() as told,
        NamedCluster(
            folder / "cluster",
            data=None if disk is None else disk / "data",
        ) as cluster,
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


@contextmanager
def going_on(call: Callable[[], object]) -> Iterator[None]:
    """A call that is made again and again, whatever comes of it."""
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.02):
            try:
                call()
            except (MilvusException, grpc.RpcError):
                continue

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


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


def test_a_node_that_drains_leaves_the_targets_and_comes_back(
    watched: Watched, tmp_path: Path
) -> None:
    cluster, *_ = watched
    file = tmp_path / "targets.json"
    options = ("--follow", str(file), "--every", "0.2", "--data", str(cluster.data))
    log = tmp_path / "follower.log"
    follower = LocalProcess("follower", ("config", "targets", *options), log, cluster.temp)

    def listed() -> set[str]:
        return {one["labels"]["node"] for one in json.loads(file.read_text())}

    try:
        wait_for(lambda: file.exists() and listed() == set(NODES), "all nodes are listed")
        assert cluster["reader-2"].stop() == 0
        wait_for(lambda: listed() == {*NODES} - {"reader-2"}, "the drained reader is not")
        cluster.restart("reader-2").wait_ready()
        wait_for(lambda: listed() == set(NODES), "it is listed again")
    finally:
        follower.kill()
        follower.close()


def test_a_full_disk_and_what_clients_notice_of_it(watched: Watched, disk: Path | None) -> None:
    if disk is None:
        pytest.skip("a tmpfs cannot be mounted")
    _, _, told, client = watched
    before = len(told.notices)
    with going_on(lambda: insert(client, "rows", [1_000_000])), no_space(disk):
        told.expect("MishardsDiskNearlyFull", after=before, folder="data", severity="critical")
        told.expect("MishardsWritesRefused", after=before, reason="disk_full")
        told.expect("MishardsErrorRate", after=before)
        full = len(told.notices)
    for name in ("MishardsDiskNearlyFull", "MishardsWritesRefused", "MishardsErrorRate"):
        told.expect(name, "resolved", after=full)


def test_a_lost_writer(watched: Watched) -> None:
    cluster, _, told, _ = watched
    before = len(told.notices)
    cluster["writer-1"].kill()
    told.expect("MishardsWriterLost", after=before, node="writer-1")
    told.expect("MishardsNoLeader", after=before, log="0", severity="critical")
    back = len(told.notices)
    cluster.restart("writer-1").wait_ready()
    told.expect("MishardsWriterLost", "resolved", after=back, node="writer-1")
    told.expect("MishardsNoLeader", "resolved", after=back, log="0")


def test_every_query_of_the_board_gives_data(watched: Watched) -> None:
    _, prometheus, _, client = watched
    variables = {one["name"]: one for one in BOARD["templating"]["list"]}
    assert values_of(prometheus, variables["cluster"]) == ["mishards"]
    assert values_of(prometheus, variables["node"]) == sorted(NODES)

    def traffic() -> None:
        insert(client, "rows", range(1_000_000, 1_000_010))
        client.delete("rows", ids=[1_000_000])
        nearest(client, "rows", query_of(3))
        nearest(client, "rows", query_of(3), filter="generation == 0", output_fields=["name"])
        client.query("rows", filter="id < 5", output_fields=["name"], limit=5)
        client.flush("rows")
        client.load_collection("missing")

    def empty() -> list[str]:
        return [
            f"{panel['title']}: {target['expr']}"
            for panel in BOARD["panels"]
            for target in panel.get("targets", ())
            if panel["title"] not in NOT_HERE and not has_data(prometheus, target["expr"])
        ]

    with going_on(traffic):
        left: list[str] = []

        def all_have_data() -> bool:
            left[:] = empty()
            return not left

        try:
            wait_for(all_have_data, "every query gives data", 60)
        except TimeoutError as error:
            raise TimeoutError(f"{error}: {left}") from None


def values_of(prometheus: Prometheus, variable: dict[str, Any]) -> list[str]:
    """What a variable of the board may be, by its query `label_values(selector, label)`."""
    selector, label = variable["query"]["query"].removesuffix(")").rsplit(", ", 1)
    selector = selector.removeprefix("label_values(").replace("$cluster", "mishards")
    return sorted(prometheus.label_values(label, selector))


def has_data(prometheus: Prometheus, expression: str) -> bool:
    """Whether a query gave any number lately, as Grafana would have asked it."""
    shown = expression.replace("$cluster", "mishards").replace("$node", ".*")
    found = prometheus.values(shown.replace("$__rate_interval", "5s"), 60)
    return any(math.isfinite(sample.value) for sample in found)
