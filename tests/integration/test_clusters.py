"""Several processes as one instance: proxies, readers, replicas, and what moves between them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pymilvus import MilvusClient

from mishards.testing.client_rows import (
    connected,
    contents,
    create,
    insert,
    nearest,
    query_of,
    true_nearest,
)
from mishards.testing.local_cluster import LocalCluster, free_port, wait_for

SEGMENTS = 8
ROWS = 100
BOUNDED = "cluster.routing=rendezvous"
"""Every reader gets a share; by consistent hashing one may well get none of so few segments."""
QUERIES = [query_of(number) for number in range(20)]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """One writer, three readers, a proxy."""
    with LocalCluster(tmp_path_factory.mktemp("shared"), BOUNDED) as found:
        found.start_all(readers=3)
        yield found


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A cluster of this test alone, nothing started."""
    with LocalCluster(tmp_path_factory.mktemp("cluster"), BOUNDED) as found:
        yield found


@pytest.fixture
def client(shared: LocalCluster) -> Iterator[MilvusClient]:
    with connected(shared.uri) as found:
        yield found


def fill_segments(client: MilvusClient, name: str) -> list[int]:
    """Sealed segments of `ROWS` rows each, and some growing rows; all ids."""
    for number in range(SEGMENTS):
        insert(client, name, range(number * ROWS, (number + 1) * ROWS))
        client.flush(name)
    last = SEGMENTS * ROWS
    insert(client, name, range(last, last + ROWS // 2))
    return list(range(last + ROWS // 2))


def check_exact(client: MilvusClient, name: str, keys: list[int], limit: int = 10) -> None:
    for query in QUERIES:
        assert nearest(client, name, query, limit) == true_nearest(keys, query, limit)


def test_several_readers_answer_as_brute_force_does(
    shared: LocalCluster, client: MilvusClient
) -> None:
    create(client, "exact")
    keys = fill_segments(client, "exact")
    for limit in (1, 10, 900):
        check_exact(client, "exact", keys, limit)
    hits = client.search("exact", QUERIES, limit=10, consistency_level="Strong")
    for query, found in zip(QUERIES, hits, strict=True):
        assert [hit["id"] for hit in found] == true_nearest(keys, query)
    assert contents(client, "exact") == dict.fromkeys(keys, 0)
    served = shared.serving("exact")
    assert len(served) == SEGMENTS
    assert all(served)
    assert len(set.union(*served)) > 1, "one reader has all the work"


def test_a_filter_and_deletes_hold_over_all_readers(client: MilvusClient) -> None:
    create(client, "filtered")
    keys = fill_segments(client, "filtered")
    gone = keys[::7]
    client.delete("filtered", ids=gone)
    client.delete("filtered", filter="id % 10 == 3")
    left = [key for key in keys if key not in set(gone) and key % 10 != 3]
    check_exact(client, "filtered", left)
    for query in QUERIES[:3]:
        found = nearest(client, "filtered", query, filter="id % 2 == 0")
        assert found == true_nearest([key for key in left if key % 2 == 0], query)
    client.upsert("filtered", [{"id": k, "generation": 1, "name": "", "vector": [9.0] * 16}
                               for k in left[:5]])  # fmt: skip
    assert contents(client, "filtered") == dict.fromkeys(left, 0) | dict.fromkeys(left[:5], 1)


def test_two_proxies_show_the_same(shared: LocalCluster, client: MilvusClient) -> None:
    port = free_port()
    second = shared.start("proxy", "--port", str(port), name="proxy-b")
    second.wait_ready()
    with connected(f"http://127.0.0.1:{port}") as other:
        create(client, "first")
        create(other, "second")
        for one, two in ((client, other), (other, client)):
            assert {"first", "second"} <= set(two.list_collections())
            insert(one, "first", range(10))
            assert set(contents(two, "first")) == set(range(10))
            two.delete("first", ids=list(range(10)))
            assert contents(one, "first") == {}
        client.create_alias("second", "other_name")
        assert wait_for(lambda: other.list_aliases("second")["aliases"], "the alias is seen")
        client.drop_alias("other_name")
        client.drop_collection("second")
        wait_for(lambda: "second" not in other.list_collections(), "the drop is seen")
        create(other, "second")
        assert contents(client, "second") == {}
    assert second.stop() == 0


def test_replicas_share_the_searches(shared: LocalCluster, client: MilvusClient) -> None:
    create(client, "twice", load=False)
    index = client.prepare_index_params()
    index.add_index("vector", index_type="FLAT", metric_type="L2")
    client.create_index("twice", index)
    client.load_collection("twice", replica_number=2)
    keys = fill_segments(client, "twice")
    wait_for(
        lambda: all(len(nodes) >= 2 for nodes in shared.serving("twice")),
        "two readers have each segment open",
    )
    check_exact(client, "twice", keys)
    (found,) = [c for c in shared.report().collections if c.name == "twice"]
    assert found.replicas == 2


def test_readers_that_join_take_over_segments(cluster: LocalCluster) -> None:
    cluster.start_all(readers=1)
    with connected(cluster.uri) as client:
        create(client, "moving")
        keys = fill_segments(client, "moving")
        check_exact(client, "moving", keys)
        assert all(nodes == {"reader-1"} for nodes in cluster.serving("moving"))
        setting = "reader.inline_cost_us=0"
        late = cluster.start("reader", "--set", setting, name="reader-2").wait_ready()
        wait_for(
            lambda: any("reader-2" in nodes for nodes in cluster.serving("moving")),
            "the new reader opened segments",
        )
        check_exact(client, "moving", keys)
        late.terminate()
        while late.exit_code is None:
            check_exact(client, "moving", keys)
        assert late.exit_code == 0, late.output()
        check_exact(client, "moving", keys)
