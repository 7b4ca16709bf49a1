"""Connections that fell silent while nobody used them: the next call does not wait for them.

R27 of the reliability plan. A machine in the middle that forgot a connection is the worst case:
neither end is told, and what is sent is swallowed.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from pymilvus import MilvusClient

from mishards.testing.client_rows import (
    connected,
    count,
    create,
    insert,
    nearest,
    query_of,
    true_nearest,
)
from mishards.testing.faulty_cluster import FaultyCluster

ROWS = 60
IDLE_S = 2.0


def timed(call: Callable[[], object]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began


def test_after_an_idle_time_calls_succeed_within_a_second(faulty: FaultyCluster) -> None:
    """R27: every connection between the nodes is forgotten while all is quiet."""
    for target in ("writer-1", "reader-1", "reader-2"):
        faulty.link("proxy-1", target)
    for name in ("writer-1", "reader-1", "reader-2"):
        faulty.add(name)
    # Shorter than any machine between would remember a connection, as the default is.
    faulty.add("proxy-1", "--set", f"node.idle_s={IDLE_S / 2}")
    for process in faulty.nodes_by_name.values():
        process.wait_ready()
    with connected(faulty.uri) as client:
        create(client, "rows")
        insert(client, "rows", range(ROWS))
        client.flush("rows")
        use(client, ROWS)
        for number in range(3):
            time.sleep(IDLE_S)  # how long it is idle, not a wait for anything
            links = list(faulty.network.links.values())
            assert sum(bool(link.open_connections) for link in links) > 1
            for link in links:
                link.forget()
            for what, call in calls(client, ROWS + number).items():
                assert (took := timed(call)) < 1.0, f"{what} took {took:.2f} s"
        use(client, ROWS + 3)


def calls(client: MilvusClient, rows: int) -> dict[str, Callable[[], object]]:
    """The first use of each way through the cluster."""
    return {
        "a search": lambda: nearest(client, "rows", query_of(rows), consistency_level="Bounded"),
        "a strong search": lambda: nearest(client, "rows", query_of(rows)),
        "an insert": lambda: insert(client, "rows", [rows]),
    }


def use(client: MilvusClient, rows: int) -> None:
    for number in range(5):
        query = query_of(number)
        assert nearest(client, "rows", query) == true_nearest(list(range(rows)), query)
    assert count(client, "rows") == rows
