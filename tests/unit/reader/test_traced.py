"""What a reader gives back of its work: the steps, what each unit cost, what it had to wait for."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from mishards.core.ids import IndexId
from mishards.observability.spans import Span
from mishards.rpc.messages import Fetch, Query
from mishards.testing.reader_bench import Bench, make_rows

ORIGIN = [[0.0, 0.0, 0.0, 0.0]]
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01"


def line(*places: float) -> list[list[float]]:
    """Vectors at these distances from the origin."""
    return [[float(place), 0.0, 0.0, 0.0] for place in places]


def given_back(answer: Any) -> tuple[Span, list[Span]]:
    """The reader's root, and the steps below it."""
    spans = msgspec.msgpack.decode(answer.trace, type=list[Span])
    assert spans[0].parent_id == 0x00F067AA0BA902B7
    assert {span.parent_id for span in spans[1:]} <= {spans[0].span_id}
    return spans[0], spans[1:]


def test_each_unit_says_what_it_cost(run):
    async def test(bench: Bench) -> None:
        segment = await bench.segment(make_rows(bench.schema, [1, 2], line(1, 4)), [50, 50])
        bench.commit(segment)
        bench.write(make_rows(bench.schema, [3, 4, 5], line(2, 3, 5)))
        await bench.search(ORIGIN, 3)
        root, steps = given_back(
            await bench.call(bench.search_message(ORIGIN, 3), traceparent=TRACEPARENT)
        )
        assert root.name == "search"
        assert [step.name for step in steps] == ["search_segment", "search_growing", "merge"]
        assert steps[0].attributes == {
            "segment": segment.id,
            "rows": 2,
            "index": "none",
            "method": "brute_force",
            "rows_scanned": 2,
        }
        assert steps[1].attributes["rows_scanned"] == 3

    run(test)


def test_who_does_not_ask_is_given_nothing(run):
    async def test(bench: Bench) -> None:
        bench.write(make_rows(bench.schema, [1], line(1)))
        for traceparent in ("", "00-not-what-is-meant"):
            answer = await bench.call(bench.search_message(ORIGIN), traceparent=traceparent)
            assert len(answer.trace) == 0

    run(test)


def test_an_index_and_a_filter_are_told_apart_from_brute_force(run):
    vectors = np.random.default_rng(1).normal(size=(3000, 4)).astype(np.float32)

    async def test(bench: Bench) -> None:
        bench.index = bench.index_meta("HNSW", IndexId(501), M="16", efConstruction="100")
        segment = await bench.segment(make_rows(bench.schema, range(3000), vectors), [50] * 3000)
        bench.commit(bench.meta(), segment)
        bench.commit(await bench.build(segment, vectors, bench.index))
        await bench.until(lambda: bench.reader.status().segments == {segment.id: "HNSW"})

        async def told(**more: Any) -> dict[str, Any]:
            message = bench.search_message(vectors[:1], 3, params={"ef": 20}, **more)
            _, steps = given_back(await bench.call(message, traceparent=TRACEPARENT))
            return next(s.attributes for s in steps if s.name == "search_segment")

        whole = await told()
        assert (whole["method"], whole["index"]) == ("index", "HNSW")
        assert 0 < whole["rows_scanned"] < 3000
        few = await told(filter="id < 10")
        assert (few["method"], few["rows_allowed"], few["rows_scanned"]) == ("brute_force", 10, 10)

    run(test)


def test_a_wait_for_the_log_and_segments_that_were_not_open_are_events(run):
    async def test(bench: Bench) -> None:
        message = bench.search_message(ORIGIN, read_ts=bench.now + 10)
        waiting = bench.background(bench.call(message, traceparent=TRACEPARENT))
        await bench.settle()
        bench.write(make_rows(bench.schema, [1], line(1)))
        _, steps = given_back(await waiting)
        assert steps[0].name == "wait_for_log"
        assert [event.name for event in steps[0].events] == ["log_wait"]

        segment = await bench.segment(make_rows(bench.schema, [2], line(2)), [bench.now])
        bench.commit(segment)
        asked = bench.call(bench.search_message(ORIGIN), traceparent=TRACEPARENT)
        _, steps = given_back(await asked)
        opened = [step for step in steps if step.name == "open_segments"]
        assert [event.attributes for step in opened for event in step.events] == [
            {"segment": segment.id}
        ]

    run(test)


def test_queries_and_fetches_give_their_steps_back(run):
    async def test(bench: Bench) -> None:
        segment = await bench.segment(make_rows(bench.schema, [1, 2], line(1, 4)), [50, 50])
        bench.commit(segment)
        query = Query(at=bench.at(), filter="id > 1", output=("id",))
        root, steps = given_back(await bench.call(query, traceparent=TRACEPARENT))
        assert root.name == "query"
        (filtered,) = (step for step in steps if step.name == "filter_segment")
        assert filtered.attributes == {"segment": segment.id, "rows": 2, "rows_allowed": 1}
        units = np.array([segment.id], np.int64).tobytes()
        fetch = Fetch(
            collection=query.at.collection,
            version=bench.version,
            units=units,
            offsets=np.array([0], np.int64).tobytes(),
            output=("id",),
        )
        root, _ = given_back(await bench.call(fetch, traceparent=TRACEPARENT))
        assert root.name == "fetch"

    run(test)
