"""A cluster of processes that finds itself and elects its leader in ZooKeeper."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

from mishards.testing.client_rows import connected, contents, create, insert
from mishards.testing.fault_proxy import FaultNetwork, FaultProxy
from mishards.testing.local_cluster import LocalCluster, wait_for
from mishards.testing.services.zookeeper import ZooKeeper


def test_a_standby_leads_after_its_leader_was_cut_off_and_after_it_was_killed(
    zookeeper: ZooKeeper, tmp_path: Path
) -> None:
    url = zookeeper.database(f"t{uuid4().hex}")
    with (
        FaultNetwork() as network,
        LocalCluster(
            tmp_path / "cluster", f"cluster.discovery={url}", f"cluster.election={url}"
        ) as cluster,
    ):
        links = {
            name: network.link(name, "127.0.0.1", zookeeper.port)
            for name in ("writer-1", "writer-2")
        }
        processes = {
            name: cluster.start(
                "writer", "--set", f"cluster.election={through(link, url)}", name=name
            )
            for name, link in links.items()
        }
        for role in ("reader", "proxy"):
            processes[role] = cluster.start(role, name=role)
        for process in processes.values():
            process.wait_ready()
        (first,) = wait_for(lambda: leaders(cluster), "a writer leads")
        (second,) = links.keys() - {first}
        with connected(cluster.uri) as client:
            create(client, "kept")
            insert(client, "kept", range(10))
            links[first].cut()
            wait_for(lambda: leaders(cluster) == [second], "the standby leads")
            insert(client, "kept", range(10, 20))
            links[first].heal()
            processes[second].kill()
            wait_for(lambda: leaders(cluster) == [first], "the first leads again")
            insert(client, "kept", range(20, 30))
            assert contents(client, "kept") == dict.fromkeys(range(30), 0)


def through(link: FaultProxy, url: str) -> str:
    """The URL with the link's address in the place of the server's."""
    return f"zookeeper://127.0.0.1:{link.port}/{url.rpartition('/')[2]}"


def leaders(cluster: LocalCluster) -> list[str]:
    """Who says to lead."""
    return [node.id for node in cluster.nodes().values() if node.leads]
