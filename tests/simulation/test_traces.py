"""Traces of a whole cluster in virtual time: one tree through proxy, readers and leader, and what a
reader that is out of reach, or dead, leaves in it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mishards.metadata.models import DEFAULT_DATABASE, ConsistencyLevel
from mishards.observability.spans import Span, Trace
from mishards.observability.tracing import Recorder, recording
from mishards.proxy.calls import DeleteCall, SearchCall
from mishards.proxy.proxy import Proxy
from mishards.testing.clock import run_virtual
from mishards.testing.cluster import ClusterLayout, SimulatedCluster
from mishards.testing.history import KEY_FIELD
from mishards.testing.run import Run
from mishards.testing.shape import COLLECTION, DIM, Shape

pytestmark = pytest.mark.timeout(600)  # while others use the processors

HOSTS: dict[str, tuple[str, ...]] = {
    "writer-1": ("writer",),
    "reader-1": ("reader",),
    "reader-2": ("reader",),
    "proxy-1": ("proxy",),
}
SHAPE = Shape(index="IVF_FLAT")
SEARCH = SearchCall(
    database=DEFAULT_DATABASE,
    collection=COLLECTION,
    timeout_s=4.0,
    queries=np.full(DIM, 0.5, np.float32).tobytes(),
    nq=1,
    limit=5,
    params=SHAPE.search_params,
    consistency=ConsistencyLevel.STRONG,
)

DELETE = DeleteCall(
    database=DEFAULT_DATABASE, collection=COLLECTION, filter=f"{KEY_FIELD} in [1000000]"
)
"""Of a key that no row has."""


def play(folder: Path, scene: Callable[[Run], Awaitable[None]]) -> None:
    """Let a scene happen to a cluster whose two readers have segments each."""

    async def filled(run: Run) -> None:
        client = run.clients.client("client", 4.0)
        for _ in range(6):
            await client.insert(must_succeed=True)
            await client.flush()
        await scene(run)

    async def all_of_it() -> None:
        layout = ClusterLayout(hosts=HOSTS, routing="rendezvous")
        run = Run(SimulatedCluster("traces", folder, layout), SHAPE)
        assert not await run.run(lambda: filled(run))

    run_virtual(all_of_it())


async def traced(run: Run, work: Callable[[Proxy], Awaitable[Any]]) -> Trace:
    """What a call of the proxy does."""
    process, proxy = run.cluster.proxy("proxy-1")

    async def recorded() -> Trace:
        now_ns = run.cluster.outside.now_ns
        recorder = Recorder("Call", "proxy-1", now_ns, "0" * 31 + "1", 0, 1)
        recording(recorder)  # of this task alone
        await work(proxy)
        recorder.end()
        return recorder.trace()

    found = await process.run(recorded())
    ids = {span.span_id for span in found.spans}
    assert len(ids) == len(found.spans)
    assert {span.parent_id for span in found.spans[1:]} <= ids
    return found


def answered(trace: Trace) -> dict[str, str]:
    """The calls of peers, and who has answered each."""
    names = {span.span_id: span.name for span in trace.spans if span.node == "proxy-1"}
    return {
        names[span.parent_id]: span.node
        for span in trace.spans
        if span.node != "proxy-1" and span.parent_id in names
    }


def events(trace: Trace) -> list[str]:
    return [event.name for span in trace.spans for event in span.events]


def stages(trace: Trace) -> list[str]:
    return [span.name for span in trace.spans if span.parent_id == trace.root.span_id]


def hop(trace: Trace, name: str) -> Span:
    return next(span for span in trace.spans if span.name == name)


def test_searches_and_writes_are_one_tree_each(tmp_path: Path) -> None:
    async def scene(run: Run) -> None:
        trace = await traced(run, lambda proxy: proxy.search(SEARCH))
        assert stages(trace) == ["get_routing", "do_search", "do_merge"]
        assert set(answered(trace)) == {"search_sim://reader-1", "search_sim://reader-2"}
        assert any(span.name == "newest_sim://writer-1" for span in trace.spans)
        for span in trace.spans:
            assert trace.root.start_ns <= span.start_ns <= span.end_ns <= trace.root.end_ns
        trace = await traced(run, lambda proxy: proxy.delete(DELETE))
        assert stages(trace) == ["do_write"]
        assert set(answered(trace)) == {"write_sim://writer-1"}
        assert {"group_commit_wait", "append", "push"} <= {span.name for span in trace.spans}

    play(tmp_path, scene)


def test_a_reader_out_of_reach_leaves_a_retry_or_a_hedge(tmp_path: Path) -> None:
    async def scene(run: Run) -> None:
        link = run.cluster.network.link("proxy-1", "reader-1")
        link.cut = True
        trace = await traced(run, lambda proxy: proxy.search(SEARCH))
        link.cut = False
        assert {"retry", "hedge"} & set(events(trace))
        assert set(answered(trace)) == {"search_sim://reader-2"}
        lost = hop(trace, "search_sim://reader-1")
        assert lost.error

    play(tmp_path, scene)


def test_a_dead_reader_leaves_an_error_and_a_retry(tmp_path: Path) -> None:
    async def scene(run: Run) -> None:
        run.cluster.kill("reader-1", 1.0)
        trace = await traced(run, lambda proxy: proxy.search(SEARCH))
        assert "retry" in events(trace)
        assert hop(trace, "search_sim://reader-1").error
        assert set(answered(trace)) == {"search_sim://reader-2"}

    play(tmp_path, scene)
