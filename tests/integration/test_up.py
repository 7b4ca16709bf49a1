"""`mishards up`: start, drain, second start, and the errors of a start that cannot be."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import pytest
from pymilvus import MilvusClient

from mishards.testing.client_rows import (
    connected,
    contents,
    create,
    insert,
    nearest,
    true_nearest,
    vector_of,
)
from mishards.testing.local_cluster import LocalCluster, wait_for

GROWING = range(300, 400)
SEALED = range(300)
KEYS = [*SEALED, *GROWING]


def fill(client: MilvusClient) -> None:
    """Sealed and growing rows, an index, an alias, a partition, a collection that is released."""
    create(client, "rows", "HNSW")
    insert(client, "rows", SEALED)
    client.flush("rows")
    insert(client, "rows", GROWING)
    client.delete("rows", ids=[0, 300])
    client.create_alias("rows", "same")
    client.create_partition("rows", "extra")
    create(client, "asleep")
    insert(client, "asleep", range(5))
    client.release_collection("asleep")


def check_filled(client: MilvusClient) -> None:
    live = [key for key in KEYS if key not in (0, 300)]
    assert sorted(client.list_collections()) == ["asleep", "rows"]
    assert contents(client, "rows") == dict.fromkeys(live, 0)
    for key in (7, 333):
        assert nearest(client, "same", vector_of(key)) == true_nearest(live, vector_of(key))
    assert client.describe_index("rows", "vector")["index_type"] == "HNSW"
    assert client.describe_alias("same")["collection_name"] == "rows"
    assert sorted(client.list_partitions("rows")) == ["_default", "extra"]
    assert str(client.get_load_state("rows")["state"]) == "Loaded"
    assert str(client.get_load_state("asleep")["state"]) == "NotLoad"
    client.load_collection("asleep")
    assert contents(client, "asleep") == dict.fromkeys(range(5), 0)
    client.release_collection("asleep")


@pytest.mark.parametrize("options", [(), ("--processes", "--readers", "2")], ids=["one", "many"])
def test_a_second_start_finds_everything(cluster: LocalCluster, options: tuple[str, ...]) -> None:
    first = cluster.start("up", *options, "--set", "writer.build_min_rows=50")
    wait_for(lambda: _proxies(cluster), "the proxy is ready")
    with connected(cluster.uri) as client:
        fill(client)
        check_filled(client)
    assert first.stop() == 0, first.output()
    assert not cluster.report().nodes
    second = cluster.start("up", *options)
    wait_for(lambda: _proxies(cluster), "the proxy is ready")
    with connected(cluster.uri) as client:
        check_filled(client)
    assert second.stop() == 0, second.output()


def _proxies(cluster: LocalCluster) -> bool:
    ready = [node for node in cluster.nodes().values() if node.ready]
    return {role for node in ready for role in node.roles} == {"writer", "reader", "proxy"}


def test_sigterm_lets_calls_in_flight_finish(cluster: LocalCluster) -> None:
    server = cluster.start("up").wait_ready()
    with connected(cluster.uri) as client:
        create(client, "rows")
        insert(client, "rows", range(3000))
        queries = [vector_of(key) for key in range(3000)]
        answers: list[object] = []
        searching = threading.Event()

        def search() -> None:
            searching.set()
            answers.append(client.search("rows", queries, limit=100, timeout=30))

        thread = threading.Thread(target=search)
        before = _worked_ticks(server.pid)
        thread.start()
        searching.wait()
        wait_for(lambda: _worked_ticks(server.pid) > before + 5, "the server searches")
        assert server.stop() == 0, server.output()
        thread.join()
    assert len(answers) == 1, "the call in flight did not finish"
    assert len(answers[0]) == 3000  # type: ignore[arg-type]


def _worked_ticks(pid: int) -> int:
    """Hundredths of a second that a process has had processors for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_a_folder_in_use_is_refused(cluster: LocalCluster) -> None:
    first = cluster.start("up").wait_ready()
    for command in (("up", "--port", "0"), ("writer",)):
        code, _, words = cluster.run(*command, "--data", str(cluster.data))
        assert code == 1
        assert words.count("\n") == 1, words
        assert f"{str(cluster.data)!r} is in use by process {first.pid}" in words
    with connected(cluster.uri) as client:
        assert client.list_collections() == []


def test_a_port_in_use_is_refused(cluster: LocalCluster) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for edge in ("native", "grpcio"):
            code, _, words = cluster.run(
                *("up", "--data", str(cluster.data), "--port", str(port)),
                *("--set", f"proxy.edge={edge}", "--set", "cluster.log_level=error"),
            )
            assert code == 1
            assert words.splitlines()[-1].startswith(f"mishards: cannot listen on 127.0.0.1:{port}")
    assert not cluster.report().nodes


def test_an_internal_port_in_use_is_refused(cluster: LocalCluster) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        code, _, words = cluster.run(
            *("reader", "--data", str(cluster.data), "--listen", address),
            *("--set", "cluster.log_level=error"),
        )
    assert code == 1
    assert words.startswith("mishards: "), words
    assert address in words


@pytest.mark.parametrize(
    ("arguments", "environ", "said"),
    [
        (("--set", "proxy.prot=1"), {}, "unknown configuration key 'proxy.prot'; did you mean"),
        ((), {"MISHARDS_PROXY_PROT": "1"}, "did you mean 'MISHARDS_PROXY_PORT'"),
        (("--set", "proxy.port=many"), {}, "proxy.port = 'many' (command line)"),
        (("--set", "proxy.port"), {}, "--set takes section.key=value"),
        (("--set", "proxy.edge=brass"), {}, "unknown edge 'brass'; known are"),
        (("--set", "cluster.routing=dice"), {}, "dice"),
        (("--set", "cluster.discovery=static"), {}, "needs cluster.nodes"),
        (("--set", "cluster.log_level=loud"), {}, "Invalid enum value 'loud'"),
        (("--readers", "2"), {}, "--readers 2 needs --processes"),
    ],
)
def test_a_wrong_setting_stops_the_start(
    cluster: LocalCluster, arguments: tuple[str, ...], environ: dict[str, str], said: str
) -> None:
    code, _, words = cluster.run(
        "up", "--data", str(cluster.data), "--port", "0", *arguments, environ=environ
    )
    assert code == 1
    last = words.splitlines()[-1]
    assert last.startswith("mishards: "), words
    assert said in last
    assert "Traceback" not in words


def test_config_show_names_the_origin_of_each_value(cluster: LocalCluster) -> None:
    file = cluster.folder / "mishards.toml"
    file.write_text('[proxy]\nport = 1234\nhost = "::1"\n[cluster]\nsecret = "hush"\n')
    code, words, errors = cluster.run(
        *("config", "show", "--config", str(file), "--set", "proxy.timeout_s=7"),
        environ={"MISHARDS_PROXY_HOST": "0.0.0.0"},
    )
    assert code == 0, errors
    rows = {
        cells[0]: cells[1:]
        for line in words.splitlines()
        if len(cells := [cell.strip() for cell in line.strip("│┃").split("│")]) == 3
    }
    assert rows["proxy.port"] == ["1234", f"file {file}"]
    assert rows["proxy.host"] == ['"0.0.0.0"', "environment"]
    assert rows["proxy.timeout_s"] == ["7.0", "command line"]
    assert rows["proxy.edge"] == ['"auto"', "default"]
    assert rows["cluster.secret"][0] == "***"
    assert "hush" not in words


def test_status_shows_nodes_collections_and_segments(cluster: LocalCluster) -> None:
    cluster.start("up", "--set", "writer.build_min_rows=50").wait_ready()
    with connected(cluster.uri) as client:
        create(client, "rows", "HNSW")
        insert(client, "rows", range(200))
        client.flush("rows")
        insert(client, "rows", range(200, 210))
        wait_for(
            lambda: not client.describe_index("rows", "vector")["pending_index_rows"], "the index"
        )
        nearest(client, "rows", vector_of(1))
    code, words, errors = cluster.run("status", "--json", "--data", str(cluster.data))
    assert code == 0, errors
    report = json.loads(words)
    (node,) = report["nodes"]
    assert node["answers"]
    assert node["ready"]
    assert node["roles"] == ["writer", "reader", "proxy"]
    assert node["edge"] == f"127.0.0.1:{cluster.port}"
    (collection,) = report["collections"]
    assert collection["name"] == "rows"
    assert collection["loaded"]
    assert (collection["rows_sealed"], collection["rows_growing"]) == (200, 10)
    (segment,) = collection["segments"]
    assert segment["rows"] == 200
    assert segment["served_by"] == {node["id"]: "HNSW"}
    code, words, errors = cluster.run("status", "--data", str(cluster.data))
    assert code == 0, errors
    for expected in (node["id"], node["edge"], "rows", "200", str(segment["id"]), "HNSW"):
        assert expected in words
