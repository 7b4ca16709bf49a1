"""The cluster at a glance: what is counted, ordered, and bounded."""

import msgspec

from mishards.api.http.console.collections import Summing, summed
from mishards.api.http.console.nodes import node_rows
from mishards.api.http.console.overview import overview
from mishards.api.http.console.page_collections import collections, collections_page
from mishards.api.http.console.page_overview import overview_page
from mishards.core.ids import EntrySeq, LogId, NodeId
from mishards.testing.console_states import broken, made_state, made_view

STATE = made_state(made_view(1, 4), made_view(2, 6, first_segment=100, replicas=2))


def test_the_figures_are_sums():
    view = overview(STATE, Summing())
    assert view.verdict == "healthy"
    assert [(r.role, r.serving, r.known) for r in view.roles] == [
        ("proxy", 1, 1),
        ("reader", 3, 3),
        ("writer", 2, 2),
    ]
    assert (view.collections, view.sealed.segments, view.growing) == (2, 10, 2468)
    rows = sum(s.rows for v in STATE.snapshot.collections.values() for s in v.segments.values())
    assert view.sealed.rows == rows
    assert view.sealed.indexed == 8
    (log,) = view.logs
    assert (log.leader, log.epoch, log.standbys, log.most_behind) == ("writer-1", 4, 1, "")


def test_lag_is_measured_from_the_newest_entry_of_all():
    late = msgspec.structs.replace(
        STATE.replies[NodeId("reader-2")], applied_seq={LogId(0): EntrySeq(98_000)}
    )
    state = msgspec.structs.replace(STATE, replies={**STATE.replies, NodeId("reader-2"): late})
    (row,) = [row for row in node_rows(state) if row.id == "reader-2"]
    assert row.entries_behind == 765
    (log,) = overview(state, Summing()).logs
    assert (log.most_behind, log.entries_behind) == ("reader-2", 765)


def test_nodes_that_need_a_look_come_first():
    rows = node_rows(broken(STATE))
    assert [row.condition for row in rows[:4]] == ["no answer"] * 3 + ["ready"]
    assert rows[0].entries_behind is None


def test_sums_are_made_once_per_view():
    summing, view = Summing(), made_view(1, 4)
    assert summing.of(view) is summing.of(view)
    newer = made_view(1, 5)
    assert summing.of(newer) == summed(newer) != summing.of(view)


def test_pages_of_a_large_cluster_stay_small():
    views = [
        made_view(n, 1000, first_segment=1000 * n, name=f"collection_{n:03}") for n in range(1, 101)
    ]
    state, summing = made_state(*views, readers=1000, writers=40, proxies=40), Summing()
    first = overview(state, summing)
    assert (first.nodes.total, first.nodes.pages, len(first.nodes.items)) == (1080, 22, 50)
    assert first.sealed.segments == 100_000
    assert len(overview_page(first)) < 100_000
    assert len(msgspec.json.encode(first)) < 50_000
    some = collections(state, summing, "", 2)
    assert len(some.page.items) == 50
    assert len(collections_page(some)) < 100_000
    assert [row.name for row in collections(state, summing, "N_07").page.items] == [
        f"collection_07{n}" for n in range(10)
    ]
    mapped = collections(state, summing, "n_070").page.items[0].mapped_bytes
    assert mapped == 999 * 35_000_000 + 26_000_000


def test_an_empty_cluster_has_pages_too():
    state = made_state(readers=0, writers=0)
    assert "No reader serves" in overview_page(overview(state, Summing()))
    assert "No collection yet" in collections_page(collections(state, Summing()))
