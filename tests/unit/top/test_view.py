"""Views and frames, of clusters that do not exist."""

from __future__ import annotations

import msgspec
import pytest
from rich.console import Console

from mishards.core.ids import LogId
from mishards.core.timestamps import compose
from mishards.doctor.nodes import NodeFacts
from mishards.observability import metrics as m
from mishards.testing.doctored import NOW_MS, node, segment, silent_node, snapshot
from mishards.top.frame import COLLECTIONS, NODES, fitting, frame
from mishards.top.samples import parse
from mishards.top.view import Look, View, events_between, view_of

SEGMENT = segment(rows=1234)


def at(seconds_behind: float) -> dict[str, object]:
    return {"applied_ts": {LogId(0): compose(NOW_MS - int(seconds_behind * 1000))}}


def cluster(cpu_s: float = 0.0) -> tuple[NodeFacts, ...]:
    holds = at(2.0) | {"segments": {SEGMENT.id: "HNSW"}}
    used = {"cpu_s": cpu_s, "resident_bytes": 3 << 20}
    return (
        node("writer-1", "writer", leads=(0,), epochs=(3,), status=at(0)),
        node("reader-1", "reader", status=holds, condition=used),
        node("proxy-1", "proxy", status=at(0.5)),
        silent_node("reader-2", "reader", problem="no answer"),
    )


def look(at_s: float, requests: int, cpu_s: float = 0.0, **changes: object) -> Look:
    text = f'{m.REQUESTS.name}{{method="Search",code="0"}} {requests}\n'
    return Look(
        **(  # type: ignore[arg-type]
            {
                "at_s": at_s,
                "nodes": cluster(cpu_s),
                "scrapes": {"proxy-1": parse(text, at_s)},
                "snapshot": snapshot(segments=(SEGMENT,)),
            }
            | changes
        )
    )


def test_figures_between_two_looks() -> None:
    view = view_of(look(10.0, 100), look(12.0, 150, cpu_s=1.0))
    assert [row.id for row in view.nodes] == ["proxy-1", "writer-1", "reader-1", "reader-2"]
    rows = {row.id: row for row in view.nodes}
    assert rows["proxy-1"].calls_s == pytest.approx(25.0)
    assert rows["reader-1"].calls_s is None
    assert rows["reader-1"].cpu == pytest.approx(0.5)
    assert rows["reader-1"].lag_s == pytest.approx(2.0)
    assert rows["writer-1"].lag_s == 0
    assert rows["reader-2"].state == "no answer"
    assert view.leaders == {0: "writer-1"}
    (collection,) = view.collections
    assert (collection.name, collection.rows, collection.segments, collection.open) == (
        "c",
        1234,
        1,
        1,
    )


def test_events() -> None:
    before = view_of(look(0.0, 0), look(1.0, 0))
    nodes = (
        node("writer-2", "writer", leads=(0,), epochs=(4,)),
        silent_node("reader-1", "reader", problem="x"),
        node("proxy-1", "proxy"),
    )
    after = view_of(look(1.0, 0), look(2.0, 0, nodes=nodes))
    assert events_between(before, after) == [
        "writer-2 joined",
        "writer-1 is gone",
        "reader-2 is gone",
        "reader-1: ready → no answer",
        "log 0: leader writer-1 → writer-2",
    ]
    assert events_between(after, after) == []
    dropped = msgspec.structs.replace(after, collections=())
    assert events_between(after, dropped) == ["collection c dropped"]


def drawn(view: View, width: int, height: int | None, events: tuple[str, ...] = ()) -> list[str]:
    terminal = Console(width=width, height=height or 1000, record=True, file=None, quiet=False)
    with terminal.capture() as capture:
        terminal.print(frame(view, events, width, height, "mishards"))
    return capture.get().splitlines()


VIEW = view_of(look(10.0, 100), look(12.0, 150, cpu_s=1.0))


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 200])
def test_nothing_is_wider_than_the_terminal(width: int) -> None:
    lines = drawn(VIEW, width, None, ("an event that is long enough to be cut somewhere",))
    assert max(map(len, lines)) <= width
    assert sum(line.startswith("reader-1") for line in lines) == 1


def test_the_least_important_columns_go_first() -> None:
    assert fitting(NODES, 500) == NODES
    assert [column.head for column in fitting(NODES, 59)] == ["node", "role", "state", "calls/s"]
    assert [column.head for column in fitting(NODES, 40)] == ["node", "state"]
    assert [column.head for column in fitting(COLLECTIONS, 10)] == ["collection"]


def test_a_node_of_all_roles_says_so_in_one_word() -> None:
    whole = (node("whole", "writer", "reader", "proxy", leads=(0,), epochs=(1,)),)
    lines = drawn(view_of(look(0.0, 0, nodes=whole), look(1.0, 0, nodes=whole)), 80, 24)
    assert any(line.startswith("whole") and " all *0 " in line for line in lines)


def test_many_nodes_are_counted_where_they_do_not_fit() -> None:
    nodes = tuple(node(f"reader-{n:03}", "reader") for n in range(300))
    view = view_of(look(0.0, 0, nodes=nodes), look(1.0, 0, nodes=nodes))
    lines = drawn(view, 100, 30)
    assert len(lines) <= 30
    shown = sum(line.startswith("reader-") for line in lines)
    assert f"and {300 - shown} more" in lines


def test_a_cluster_of_which_nothing_is_known() -> None:
    nothing = Look(at_s=0.0, problems=("the registry is away",))
    lines = drawn(view_of(nothing, nothing), 80, 24)
    assert "0 of 0 nodes ready" in lines[0]
    assert "leaders none" in lines[0]
    assert lines[1] == "the registry is away"
