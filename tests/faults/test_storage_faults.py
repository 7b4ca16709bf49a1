"""Shared storage that fails, stalls, is full or read-only: writes are refused by name, what is in
memory is read on, and all goes on by itself when storage does.

R13, R14 and R17 of the reliability plan.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from pymilvus import MilvusClient, MilvusException

import mishards
from mishards.testing.client_rows import (
    connected,
    contents,
    create,
    insert,
    nearest,
    query_of,
    row,
    true_nearest,
)
from mishards.testing.fault_control import FileFault, StorageFault
from mishards.testing.faulty_cluster import FaultyCluster
from mishards.testing.local_cluster import wait_for
from mishards.testing.log_watch import LogWatch
from mishards.testing.recorded import Workload

KEYS = list(range(90))
NODES = ("writer-1", "writer-2", "reader-1", "proxy-1")
WRITES = ("insert", "upsert", "delete")
REASONS = {
    "EIO": "Input/output error",
    "ESTALE": "Stale file handle",
    "stalls": "Deadline Exceeded",
}
RECOVERS_S = 5.0
NOT_FOR_LONG_S = 2.0
"""Less than what Bounded reads may be behind."""

Shared = tuple[FaultyCluster, Workload, LogWatch]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """Two writers, a reader and a proxy; every test leaves all of them as they were."""
    settings = ("writer.flush_age_s=4", "reader.housekeeping_s=0.2")
    with FaultyCluster(tmp_path_factory.mktemp("shared"), *settings) as cluster:
        cluster.add_all(writers=2, readers=1, proxies=1)
        with connected(cluster.uri) as client:
            create(client, "still")
            insert(client, "still", KEYS[:60])
            client.flush("still")
            insert(client, "still", KEYS[60:])
            read(client, "Strong")
        workload = Workload(cluster.uris, timeout_s=10.0)
        workload.create()
        with LogWatch(cluster.data) as log:
            yield cluster, workload, log


def read(client: MilvusClient, level: str) -> None:
    """What a search finds is complete."""
    for number in range(3):
        found = nearest(client, "still", query_of(number), consistency_level=level, timeout=5)
        assert found == true_nearest(KEYS, query_of(number))


@contextmanager
def failing(shared: Shared, harm: Callable[[str], None], *names: str) -> Iterator[None]:
    """Harm nodes while the body runs and clients work; then all goes on within seconds, in the
    processes that were there, and nothing acknowledged is lost."""
    cluster, workload, log = shared
    lives = {name: cluster[name].pid for name in NODES}
    with workload.running(2):
        workload.go_on()
        workload.note(f"storage fails for {', '.join(names)}")
        for name in names:
            harm(name)
        try:
            yield
        finally:
            cluster.heal()
        healed_s = time.time()
        workload.note("healed")
        workload.go_on(patience_s=RECOVERS_S + workload.timeout_s)
    first = min(
        o.end_s for o in workload.calls(*WRITES) if o.outcome == "ok" and o.end_s > healed_s
    )
    assert first - healed_s < RECOVERS_S
    assert {name: cluster[name].pid for name in NODES} == lives
    assert all(cluster[name].exit_code is None for name in NODES)
    workload.check(log.durable())
    assert not log.changed


@pytest.mark.parametrize("how", ["EIO", pytest.param("ESTALE", marks=pytest.mark.slow), "stalls"])
def test_without_storage_writes_are_refused_and_memory_is_read(shared: Shared, how: str) -> None:
    """R13: for all nodes at once."""
    cluster, workload, _ = shared

    def harm(name: str) -> None:
        if how == "stalls":
            cluster.faults(name).set(storage="stalls")
        else:
            cluster.faults(name).set(storage_faults=(StorageFault(error=how),))

    with failing(shared, harm, *NODES), connected(cluster.uri) as client:
        began = time.time()
        while time.time() < began + NOT_FOR_LONG_S:
            read(client, "Bounded")
            read(client, "Eventually")
        refusal = grpc.RpcError if how == "stalls" else MilvusException
        with pytest.raises(refusal) as caught:
            client.insert("still", [row(1000)], timeout=2 if how == "stalls" else 10)
        assert REASONS[how] in str(caught.value)
        read(client, "Eventually")
        ended = time.time()
    written = [
        o
        for o in workload.calls(*WRITES, since_s=began + 0.2)
        if o.outcome == "ok" and o.end_s < ended - 0.2
    ]
    assert not written, "acknowledged without storage"


@pytest.mark.parametrize("call", ["fsync", "write"])
def test_a_leader_whose_disk_fails_it_acknowledges_nothing_and_steps_down(
    shared: Shared, call: str
) -> None:
    """R17: a failed fsync and a short write, of one writer: the other leads."""
    cluster, workload, _ = shared
    leader = cluster.leader()
    fault = FileFault(call=call, path="*/log/*")  # type: ignore[arg-type]
    began = time.time()
    with failing(shared, lambda name: cluster.faults(name).set(file_faults=(fault,)), leader):
        wait_for(lambda: cluster.leader() != leader, "the other writer leads", 10.0)
        workload.go_on()
    assert "Input/output error" in cluster[leader].output()
    assert not workload.failed(*WRITES, since_s=began)


@pytest.mark.parametrize("call", ["fsync", "write"])
def test_when_every_disk_has_failed_one_leads_again(shared: Shared, call: str) -> None:
    """R17: of all writers, so that nobody can lead."""
    cluster, workload, _ = shared
    fault = FileFault(call=call, path="*/log/*")  # type: ignore[arg-type]

    def harm(name: str) -> None:
        cluster.faults(name).set(file_faults=(fault,))

    with failing(shared, harm, "writer-1", "writer-2"):
        began = time.time()
        wait_for(lambda: workload.failed(*WRITES, since_s=began - 10), "a write fails", 20.0)
        ended = time.time()
    written = [
        o
        for o in workload.calls(*WRITES, since_s=began + 0.2)
        if o.outcome == "ok" and o.end_s < ended - 0.2
    ]
    assert not written, "acknowledged though nothing could be made durable"


def test_no_space_for_segments_leaves_writes_and_reads_alone(shared: Shared) -> None:
    """R14: the log has space, segments have none."""
    cluster, workload, _ = shared
    full = (StorageFault(operation="put*", key="segments/*", error="ENOSPC"),)

    def harm(name: str) -> None:
        cluster.faults(name).set(storage_faults=full)

    began = time.time()
    with connected(cluster.uri) as client:
        with failing(shared, harm, *NODES):
            client.upsert("still", [row(KEYS[0])])
            with pytest.raises(MilvusException) as caught:
                client.flush("still", timeout=5)
            assert "No space left" in caught.value.message
            read(client, "Strong")
            workload.go_on()
        assert not workload.failed("search", "query", "count", *WRITES, since_s=began)
        client.flush("still", timeout=20)
        read(client, "Strong")


def test_no_space_for_the_log_refuses_writes_and_keeps_the_leader(shared: Shared) -> None:
    """R14: segments have space, the log has none; no takeover, for it would not help."""
    cluster, _, _ = shared
    leader = cluster.leader()
    full = (StorageFault(operation="create", key="log/*", error="ENOSPC"),)

    def harm(name: str) -> None:
        cluster.faults(name).set(storage_faults=full)

    with failing(shared, harm, *NODES), connected(cluster.uri) as client:
        with pytest.raises(MilvusException) as caught:
            client.insert("still", [row(1000)], timeout=5)
        assert "No space left" in caught.value.message
        read(client, "Strong")
    assert cluster.leader() == leader


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """The folder is on a file system that was mounted anew, read-only."""
    done = subprocess.run(
        ["mount", "--bind", str(folder), str(folder)], capture_output=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"a folder cannot be mounted: {done.stderr.decode().strip()}")
    try:
        options = ["mount", "-o", "remount,ro,bind", str(folder)]
        subprocess.run(options, check=True, capture_output=True)
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_read_only_file_system_refuses_writes_until_it_is_none(tmp_path: Path) -> None:
    """R13 and R14: a real one, under an instance of one process."""
    with mishards.start(tmp_path) as server, connected(server.uri) as client:
        create(client, "still")
        insert(client, "still", KEYS[:60])
        client.flush("still")
        insert(client, "still", KEYS[60:])
        with read_only(tmp_path / "log"):
            for _ in range(2):  # of a leader, and when there is none any more
                with pytest.raises(MilvusException) as caught:
                    client.insert("still", [row(1000)], timeout=15)
                assert "Read-only file system" in caught.value.message
                for level in ("Strong", "Session", "Bounded", "Eventually"):
                    read(client, level)
        writable_s = time.monotonic()

        def inserted() -> bool:
            try:
                client.upsert("still", [row(3000)], timeout=5)
            except MilvusException:
                return False
            return True

        wait_for(inserted, "writes go on", RECOVERS_S)
        assert time.monotonic() - writable_s < RECOVERS_S
        client.delete("still", ids=[3000])
        client.flush("still")
        read(client, "Strong")
    with mishards.start(tmp_path) as server, connected(server.uri) as client:
        assert contents(client, "still") == dict.fromkeys(KEYS, 0)
