"""One tree across real processes: searches, queries and writes, from the edge to where they end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from pymilvus import MilvusClient
from typer.testing import CliRunner

from mishards.cli.main import app
from mishards.client import explanation
from mishards.core.runtime import SystemRuntime
from mishards.observability.spans import Span, Trace
from mishards.rpc.messages import SlowTraces, Traces
from mishards.rpc.tcp import FramedTransport
from mishards.testing.client_rows import connected, create, insert, query_of
from mishards.testing.local_cluster import LocalCluster

SETTINGS = (
    "cluster.routing=rendezvous",
    # All calls are slow enough to be remembered.
    "tracing.slow_ms=0",
    "tracing.slow_kept=1000",
)
ROWS = 60
NAME = "traced"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """One writer, two readers, a proxy; a collection of six segments and growing rows."""
    with LocalCluster(tmp_path_factory.mktemp("traced"), *SETTINGS) as found:
        found.start_all(readers=2)
        with connected(found.uri) as client:
            create(client, NAME)
            for number in range(6):
                insert(client, NAME, range(number * ROWS, (number + 1) * ROWS))
                client.flush(NAME)
            insert(client, NAME, range(6 * ROWS, 7 * ROWS))
        yield found


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[MilvusClient]:
    with connected(cluster.uri) as found:
        yield found


def traces(cluster: LocalCluster, name: str) -> list[Trace]:
    """What the proxy remembers of a method, newest first."""
    proxies = [node for node in cluster.report().nodes if "proxy" in node.roles]

    async def ask() -> list[Trace]:
        runtime = SystemRuntime(threads=1)
        transport = FramedTransport(runtime)
        try:
            channel = transport.channel(proxies[0].address)
            answer = await channel.call(SlowTraces(most=1000), timeout_s=20)
            assert isinstance(answer, Traces)
            return [trace for trace in answer.traces if trace.root.name == name]
        finally:
            await transport.close()
            await runtime.close()

    return asyncio.run(ask())


def below(trace: Trace, parent: Span) -> list[Span]:
    return [span for span in trace.spans if span.parent_id == parent.span_id]


def stage(trace: Trace, name: str) -> Span:
    """A step of the request, as it was done last."""
    return [span for span in below(trace, trace.root) if span.name == name][-1]


def answered(trace: Trace, step: Span) -> list[tuple[Span, Span]]:
    """Calls of peers below a step, each with what the peer did; copies that nobody waited for
    are left out."""
    return [(hop, done) for hop in below(trace, step) for done in below(trace, hop)]


@pytest.mark.parametrize("level", ["Strong", "Eventually"])
def test_a_search_is_one_tree_across_processes(
    cluster: LocalCluster, client: MilvusClient, level: str
) -> None:
    """A Strong search asks the leader, so it goes through the loop; the other need not."""
    client.search(NAME, [query_of(1)], limit=7, consistency_level=level)
    trace = traces(cluster, "Search")[0]
    root = trace.root
    assert root.attributes["collection"] == NAME
    assert (root.attributes["nq"], root.attributes["k"]) == (1, 7)
    assert root.attributes["request_bytes"] > 64
    assert root.attributes["answer_bytes"] > 50
    names = [span.name for span in below(trace, root)]
    assert names[-3:] == ["get_routing", "do_search", "do_merge"]
    if level == "Strong":
        assert names[0] == "in_thread"
    hops = answered(trace, stage(trace, "do_search"))
    addresses = {node.id: node.address for node in cluster.report().nodes}
    assert len({there.node for _, there in hops} - {root.node}) == 2
    for hop, there in hops:
        assert hop.name == f"search_{addresses[there.node]}"
        assert there.name == "search"
        steps = below(trace, there)
        searched = [span for span in steps if span.name == "search_segment"]
        assert searched
        assert all(span.attributes["rows_scanned"] > 0 for span in searched)
        assert any(span.name == "merge" for span in steps)
        assert hop.start_ns <= there.start_ns <= there.end_ns <= hop.end_ns
    assert len({span.span_id for span in trace.spans}) == len(trace.spans)


def test_output_columns_are_fetched_below_a_step_of_their_own(
    cluster: LocalCluster, client: MilvusClient
) -> None:
    client.search(
        NAME, [query_of(2)], limit=7, output_fields=["name"], consistency_level="Eventually"
    )
    trace = traces(cluster, "Search")[0]
    hops = answered(trace, stage(trace, "fetch"))
    assert {there.name for _, there in hops} == {"fetch"}


def test_a_query_is_one_tree(cluster: LocalCluster, client: MilvusClient) -> None:
    client.query(NAME, "id >= 100 and id < 110")
    trace = traces(cluster, "Query")[0]
    _, there = answered(trace, stage(trace, "do_query"))[0]
    assert "merge" in {span.name for span in below(trace, there)}
    assert trace.root.attributes["filter"] == "id >= 100 and id < 110"


def test_a_write_is_one_tree_down_to_the_durable_entry(
    cluster: LocalCluster, client: MilvusClient
) -> None:
    insert(client, NAME, range(9_000, 9_003))
    client.delete(NAME, ids=[9_000])
    for method, rows, keys in (("Insert", 3, 0), ("Delete", 0, 1)):
        trace = traces(cluster, method)[0]
        step = stage(trace, "do_write")
        assert (step.attributes["rows"], step.attributes["keys"]) == (rows, keys)
        hop, there = answered(trace, step)[-1]
        assert hop.name.startswith("write_")
        steps = {span.name: span for span in below(trace, there)}
        assert list(steps) == ["check_write", "group_commit_wait", "append", "push"]
        assert steps["append"].attributes["bytes"] > 0


def test_a_refused_call_tells_why(cluster: LocalCluster, client: MilvusClient) -> None:
    with pytest.raises(Exception, match="no_such_field"):
        client.query(NAME, "no_such_field > 1")
    assert "no_such_field" in traces(cluster, "Query")[0].root.error


def command(*arguments: str) -> str:
    """What `mishards` prints, run in this process."""
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def test_the_command_draws_a_search_as_a_tree(cluster: LocalCluster, client: MilvusClient) -> None:
    drawn = command("trace", "--data", str(cluster.data), "--collection", NAME, "--id", "3")
    lines = drawn.splitlines()
    depth = [
        next(line.index("━") for line in lines if step in line)
        for step in (" Search ", " do_search ", " search_tcp://", " search ", " search_segment ")
    ]
    assert depth == sorted(set(depth))
    assert "10 hits" in lines[-1]


def told_of(cluster: LocalCluster, condition: str) -> dict[str, Any]:
    """The explanation of a search, as the command tells it."""
    found: dict[str, Any] = json.loads(
        command(
            *("trace", "--uri", cluster.uri, "--collection", NAME, "--random"),
            *("--filter", condition, "--limit", "3", "--json"),
        )
    )
    return found


def test_the_command_tells_a_search_as_json(cluster: LocalCluster, client: MilvusClient) -> None:
    told = told_of(cluster, "id < 30")
    assert told["collection"] == NAME
    assert sum(one["rows_allowed"] for one in told["segments"] if one["segment"]) == 30
    readers = {one["reader"] for one in told["readers"]}
    assert {one["reader"] for one in told["segments"]} <= readers
    told = told_of(cluster, "id > 5000000")
    assert sum(one["rows"] for one in told["pruned"]) >= 6 * ROWS
    assert not [one for one in told["segments"] if one["segment"]]


def test_the_command_shows_what_was_slow(cluster: LocalCluster, client: MilvusClient) -> None:
    client.query(NAME, "id == 77")
    drawn = command("trace", "--data", str(cluster.data), "--slow", "--limit", "500")
    assert "filter=id == 77" in drawn
    told = json.loads(
        command("trace", "--data", str(cluster.data), "--slow", "--limit", "1", "--json")
    )
    assert [trace["spans"][0]["name"] for trace in told] == ["Query"]


def test_a_programs_explanation_is_that_of_the_answer(
    cluster: LocalCluster, client: MilvusClient
) -> None:
    found = client.search(NAME, [query_of(3)], limit=4, search_params={"explain": True})
    told = explanation(found)
    assert told is not None
    assert told["spans"][0]["name"] == "Search"
    assert explanation(client.search(NAME, [query_of(3)], limit=4)) is None
