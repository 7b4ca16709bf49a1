"""A proxy killed, and an instance of one process killed: started again, they have everything."""

from __future__ import annotations

import threading

from pymilvus import MilvusClient, MilvusException

from mishards.testing.client_rows import connected, contents, create, insert, nearest, vector_of
from mishards.testing.local_cluster import LocalCluster, LocalProcess, wait_for


def test_clients_outlive_a_proxy(cluster: LocalCluster) -> None:
    processes = cluster.start_all(readers=1)
    with connected(cluster.uri) as client:
        create(client, "rows")
        insert(client, "rows", range(20))
        processes["proxy"].kill()
        again: list[LocalProcess] = []
        starting = threading.Thread(target=lambda: again.append(cluster.start("proxy")))
        starting.start()
        # While nobody listens the client library gives up at once; then it connects by itself.
        wait_for(lambda: _found(client), "the client goes on", 60)
        insert(client, "rows", range(20, 30))
        starting.join()
        assert contents(client, "rows") == dict.fromkeys(range(30), 0)


def _found(client: MilvusClient) -> bool:
    try:
        return nearest(client, "rows", vector_of(7), limit=1) == [7]
    except MilvusException as error:
        print("while the proxy was away:", error)
        return False


def test_an_instance_of_one_process_survives_kills(cluster: LocalCluster) -> None:
    settings = ("--set", "writer.build_min_rows=50")
    server = cluster.start("up", *settings).wait_ready()
    with connected(cluster.uri) as client:
        create(client, "rows", "HNSW")
    expected: dict[int, int] = {}
    for number in range(3):
        keys = range(number * 100, (number + 1) * 100)
        with connected(cluster.uri) as client:
            insert(client, "rows", keys)
            expected |= dict.fromkeys(keys, 0)
            client.delete("rows", ids=[keys[0]])
            del expected[keys[0]]
            if number != 1:
                client.flush("rows")
        server.kill()
        server = cluster.start("up", *settings).wait_ready()
        with connected(cluster.uri) as client:
            assert contents(client, "rows") == expected
            assert nearest(client, "rows", vector_of(keys[5]), limit=1) == [keys[5]]
    assert server.stop() == 0
