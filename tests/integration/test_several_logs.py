"""Several logs, led by several writers as processes."""

from __future__ import annotations

from pathlib import Path

from pymilvus import DataType, MilvusClient

from mishards.testing.local_cluster import LocalCluster, wait_for

LOGS = 3
COLLECTIONS = [f"c{number}" for number in range(2 * LOGS)]


def leaders(cluster: LocalCluster) -> dict[int, str]:
    """Who leads each log, of the nodes that answer."""
    nodes = [node for node in cluster.report().nodes if node.answers]
    return {log: node.id for node in nodes for log in node.leads}


def create(client: MilvusClient, name: str) -> None:
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("v", DataType.FLOAT_VECTOR, dim=2)
    index = client.prepare_index_params()
    index.add_index("v", index_type="FLAT", metric_type="L2")
    client.create_collection(name, schema=schema, index_params=index, consistency_level="Strong")


def put(client: MilvusClient, name: str, keys: range) -> None:
    client.insert(name, [{"id": key, "v": [float(key), 0.0]} for key in keys])


def keys_of(client: MilvusClient, name: str) -> list[int]:
    rows = client.query(name, filter="id >= 0", output_fields=["id"])
    return sorted(row["id"] for row in rows)


def test_logs_are_spread_over_writers_and_outlive_one(tmp_path: Path) -> None:
    with LocalCluster(tmp_path, f"cluster.logs={LOGS}") as cluster:
        names = ["writer-0", "writer-1", "writer-2", "reader-0", "reader-1", "proxy"]
        processes = {name: cluster.start(name.partition("-")[0], name=name) for name in names}
        for process in processes.values():
            process.wait_ready()
        wait_for(lambda: len(set(leaders(cluster).values())) == LOGS, "a log for each writer")
        client = MilvusClient(cluster.uri)
        try:
            for name in COLLECTIONS:
                create(client, name)
                put(client, name, range(10))
                client.delete(name, ids=[3])
            assert {len(keys_of(client, name)) for name in COLLECTIONS} == {9}
            client.flush(COLLECTIONS[1])
            client.truncate_collection(COLLECTIONS[2])
            assert keys_of(client, COLLECTIONS[2]) == []

            doomed = next(name for log, name in leaders(cluster).items() if log == LOGS - 1)
            processes[doomed].kill()
            for name in COLLECTIONS:
                put(client, name, range(10, 20))
                client.upsert(name, [{"id": 5, "v": [0.5, 0.5]}])
            expected = [key for key in range(20) if key != 3]
            for name in COLLECTIONS:
                wanted = [5, *range(10, 20)] if name == COLLECTIONS[2] else expected
                assert keys_of(client, name) == wanted
                hits = client.search(name, [[0.5, 0.5]], limit=1, anns_field="v")
                assert hits[0][0]["id"] == 5
            assert sorted(leaders(cluster)) == list(range(LOGS))
            assert doomed not in leaders(cluster).values()
        finally:
            client.close()
