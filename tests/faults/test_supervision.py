"""`mishards up --processes` restarts what dies, and takes everything with it when it dies."""

from __future__ import annotations

import os
import signal

import pytest
from pymilvus import MilvusException

from mishards.server.status import NodeReport
from mishards.testing.client_rows import connected, contents, create, insert
from mishards.testing.local_cluster import LocalCluster, wait_for


def ready(cluster: LocalCluster) -> dict[str, NodeReport] | None:
    """Nodes by role, once one of each serves."""
    found = {node.roles[0]: node for node in cluster.nodes().values() if node.ready}
    return found if len(found) == 3 else None


def test_what_dies_is_started_again(cluster: LocalCluster) -> None:
    server = cluster.start("up", "--processes")
    first = wait_for(lambda: ready(cluster), "all roles serve")
    with connected(cluster.uri) as client:
        create(client, "rows")
        insert(client, "rows", range(30))
    for role in ("reader", "writer", "proxy"):
        os.kill(first[role].pid, signal.SIGKILL)
    second = wait_for(
        lambda: (now := ready(cluster)) and all(now[r].pid != first[r].pid for r in now) and now,
        "all roles serve again",
    )
    assert set(second) == {"reader", "writer", "proxy"}
    with connected(cluster.uri) as client:
        assert contents(client, "rows") == dict.fromkeys(range(30), 0)
        insert(client, "rows", range(30, 40))
        assert contents(client, "rows") == dict.fromkeys(range(40), 0)
    assert server.stop() == 0
    assert not cluster.report().nodes


def test_children_end_when_the_supervisor_is_killed(cluster: LocalCluster) -> None:
    server = cluster.start("up", "--processes")
    nodes = wait_for(lambda: ready(cluster), "all roles serve")
    server.kill()
    for node in nodes.values():
        wait_for(lambda node=node: not alive(node.pid), f"{node.id} has ended")
    # Its port and its folder are free for the next one.
    again = cluster.start("up", "--processes")
    wait_for(lambda: ready(cluster), "all roles serve")
    assert again.stop() == 0


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_proxy_waits_for_a_first_writer_and_says_so(cluster: LocalCluster) -> None:
    proxy = cluster.start("proxy", "--set", "proxy.timeout_s=1")
    wait_for(lambda: "waits for a writer" in proxy.output(), "it says so")
    writer = cluster.start("writer").wait_ready()
    proxy.wait_ready()
    with connected(cluster.uri) as client:
        create(client, "rows", load=False)
        writer.kill()
        with pytest.raises(MilvusException) as caught:
            client.create_database("late", timeout=20)
        assert caught.value.code == 2
        assert "no leader answered within 1 s" in caught.value.message


def test_a_proxy_that_waits_ends_when_told_to(cluster: LocalCluster) -> None:
    proxy = cluster.start("proxy")
    wait_for(lambda: "waits for a writer" in proxy.output(), "it says so")
    assert proxy.stop() == 0
