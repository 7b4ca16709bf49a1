"""Mixed load and mixed faults for long: what is promised holds, and nothing is left behind.

R30 of the reliability plan. The nodes that live throughout are harmed as well, though not killed:
their memory and their file handles have to be flat.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from mishards.testing.faulty_cluster import FaultyCluster
from mishards.testing.log_watch import LogWatch
from mishards.testing.recorded import Workload

WARM_S = 15.0
LIVE_ON = ("proxy-1", "reader-1")
MORE_FILES = 16
MORE_MEMORY = 1.25
MORE_BYTES = 32 * 1024 * 1024

Endured = tuple[FaultyCluster, Workload, LogWatch]


class Held(NamedTuple):
    """What a process holds; `files` by what they are, less those of segments that are there."""

    files: Counter[str]
    bytes: int


@pytest.fixture
def endured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endured]:
    """Two of each role, with links that can be cut."""
    settings = ("cluster.routing=rendezvous", "writer.flush_age_s=3", "writer.collect_interval_s=5")
    with FaultyCluster(tmp_path_factory.mktemp("endurance"), *settings) as cluster:
        for reader in ("reader-1", "reader-2"):
            cluster.link("proxy-1", reader)
            cluster.link(reader, "writer-1")
        cluster.add_all(writers=2, readers=2, proxies=2)
        workload = Workload(cluster.uris, timeout_s=10.0)
        workload.create(replicas=2)
        with LogWatch(cluster.data) as log:
            yield cluster, workload, log


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_mixed_faults_leave_nothing_behind(endured: Endured, pytestconfig: pytest.Config) -> None:
    """R30, for as long as `--endure` says."""
    cluster, workload, log = endured
    lasts_s = pytestconfig.getoption("endure")
    chance = random.Random(30)
    with workload.running(3, pause_s=0.05, searchers=1):
        began_s = time.monotonic()
        warm: dict[str, Held] = {}
        while (lasted_s := time.monotonic() - began_s) < lasts_s:
            if lasted_s > WARM_S and not warm:
                warm = {name: held(cluster[name].pid) for name in LIVE_ON}
            what = chance.choice(FAULTS)
            workload.note(what.__name__)
            what(cluster, workload)
            workload.go_on()
    cluster.agree()
    workload.check(log.durable())
    assert not log.changed
    for name, then in warm.items():
        now = held(cluster[name].pid)
        assert now.files.total() <= then.files.total() + MORE_FILES, (name, then, now)
        assert now.bytes <= MORE_MEMORY * then.bytes + MORE_BYTES, (name, then, now)


def kill_the_leader(cluster: FaultyCluster, workload: Workload) -> None:
    leader = cluster.leader()
    cluster[leader].kill()
    workload.go_on()
    cluster.restart(leader).wait_ready()


def stop_the_leader_for_a_while(cluster: FaultyCluster, workload: Workload) -> None:
    leader = cluster.leader()
    cluster.freeze(leader)
    workload.go_on()
    cluster[leader].thaw()


def kill_a_reader(cluster: FaultyCluster, workload: Workload) -> None:
    cluster["reader-2"].kill()
    workload.go_on()
    cluster.restart("reader-2").wait_ready()


def restart_a_proxy(cluster: FaultyCluster, workload: Workload) -> None:
    assert cluster["proxy-2"].stop() == 0
    workload.go_on()
    cluster.restart("proxy-2").wait_ready()


def cut_a_reader_off(cluster: FaultyCluster, workload: Workload) -> None:
    for link in (cluster.link("proxy-1", "reader-1"), cluster.link("reader-1", "writer-1")):
        link.cut()
    workload.go_on()
    cluster.heal()


def fail_a_reader_s_storage(cluster: FaultyCluster, workload: Workload) -> None:
    cluster.faults("reader-1").set(storage="fails")
    workload.go_on()
    cluster.heal()


def reset_connections(cluster: FaultyCluster, workload: Workload) -> None:
    for link in cluster.network.links.values():
        link.reset()
    workload.go_on()


FAULTS: tuple[Callable[[FaultyCluster, Workload], None], ...] = (
    kill_the_leader,
    stop_the_leader_for_a_while,
    kill_a_reader,
    restart_a_proxy,
    cut_a_reader_off,
    fail_a_reader_s_storage,
    reset_connections,
)


def held(pid: int) -> Held:
    """File handles and resident memory of a process."""
    folder = Path(f"/proc/{pid}")
    words = (folder / "status").read_text().split()
    resident_kb = int(words[words.index("VmRSS:") + 1])
    files: Counter[str] = Counter()
    for handle in (folder / "fd").iterdir():
        with suppress(FileNotFoundError):
            path = Path(str(handle.readlink()))
            if "segments" not in path.parts or not path.exists():
                files[path.name.partition(":")[0]] += 1
    return Held(files, resident_kb * 1024)
