"""The tree of `mishards trace`: each span below its parent, with what went wrong."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from mishards.cli.trace_search import numbers
from mishards.cli.trace_tree import tree_of
from mishards.core.errors import InvalidParameter


def span(name: str, id_: str, parent: str, node: str = "proxy", **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "span_id": id_,
        "parent_id": parent,
        "node": node,
        "start_ns": 1_000_000,
        "ms": 2.0,
        "attributes": {},
        "events": [],
        "error": "",
        **more,
    }


def drawn(spans: list[dict[str, Any]]) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=120).print(tree_of(spans))
    return out.getvalue().splitlines()


def test_each_span_is_below_its_parent() -> None:
    lines = drawn(
        [
            span("Search", "a", "f", attributes={"k": 10}),
            span("search", "d", "c", node="reader-[1]"),  # before its parent, as peers' may be
            span("do_search", "b", "a"),
            span("search_tcp://h:1", "c", "b", error="Unavailable: gone"),
            span("lost", "e", "unknown"),
        ]
    )
    depth = {
        name: next(line.index("━") for line in lines if f" {name} " in line)
        for name in ("Search", "do_search", "search_tcp://h:1", "search", "lost")
    }
    assert depth["Search"] < depth["do_search"] < depth["search_tcp://h:1"] < depth["search"]
    assert depth["lost"] == depth["do_search"]
    text = "\n".join(lines)
    assert "k=10" in text
    assert "Unavailable: gone" in text
    assert "reader-[1]" in text


def test_events_are_shown_where_they_happened() -> None:
    event = {"name": "retry", "ms": 0.5, "attributes": {"cause": "Unavailable: [gone]"}}
    (first, second) = drawn([span("Search", "a", "", events=[event])])
    assert "Search" in first
    assert "! retry at 0.500 ms cause=Unavailable: [gone]" in second


@pytest.mark.parametrize("text", ["[1, 2.5]", "1,2.5", " [1.0,2.5] "])
def test_a_vector_is_read_with_or_without_brackets(text: str) -> None:
    assert numbers(text) == [1.0, 2.5]


@pytest.mark.parametrize("text", ["[1, x]", "one", "[[1]]", "{}x"])
def test_what_is_no_vector_is_refused(text: str) -> None:
    with pytest.raises(InvalidParameter, match="no vector"):
        numbers(text)
