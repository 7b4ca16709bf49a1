"""Which reader serves what: planned, in fact, and bounded."""

import msgspec

from mishards.api.http.console.page_ring import ring_page
from mishards.api.http.console.ring import MOST_CELLS, MOST_READERS, chosen_view, ring
from mishards.core.ids import NodeId
from mishards.testing.console_states import MadeLook, broken, made_state, made_view

VIEW = made_view(1, 24, name="products", replicas=2)
STATE = made_state(VIEW, made_view(2, 3, name="never_loaded", first_segment=100, replicas=0))


def drawn(state, view=VIEW, page=1):
    return ring(state, view, MadeLook(state).preferences(view), page)


def test_every_segment_is_with_as_many_readers_as_there_are_replicas():
    view = drawn(STATE)
    assert [share.reader for share in view.shares] == ["reader-1", "reader-2", "reader-3"]
    assert sum(share.total for share in view.shares) == 48
    assert {cell for share in view.shares for cell in share.cells} == {"indexed", "unindexed"}
    assert (view.unserved, view.planned, view.segments.total) == (0, True, 24)
    assert all(len(row.planned) == len(row.open_at) == 2 for row in view.segments.items)


def test_what_a_silent_reader_served_is_not_open():
    view = drawn(broken(STATE))
    (down,) = [share for share in view.shares if share.condition == "no answer"]
    assert down.counts == {"closed": down.total}
    assert "✕ reader-1" in ring_page(view)


def test_damage_is_drawn_and_named():
    reply = STATE.replies[NodeId("reader-1")]
    first = next(iter(reply.segments))
    bad = msgspec.structs.replace(reply, quarantined={first: "wrong checksum"}, segments={})
    view = drawn(msgspec.structs.replace(STATE, replies={**STATE.replies, "reader-1": bad}))
    assert view.shares[0].counts["damaged"] == 1
    assert "wrong checksum" in ring_page(view)


def test_the_first_loaded_collection_is_shown_and_any_can_be_chosen():
    assert chosen_view(STATE, "").name == "products"
    assert chosen_view(STATE, "default/never_loaded").name == "never_loaded"
    assert chosen_view(STATE, "default/nothing") is None
    assert "nothing to place" in ring_page(ring(made_state(), None, {}))


def test_a_ring_of_a_thousand_readers_is_drawn_within_bounds():
    view = made_view(1, 3 * MOST_CELLS)
    state = made_state(view, readers=1000)
    made = ring(state, view, {})
    assert (len(made.shares), made.more_readers, made.planned) == (MOST_READERS, 880, False)
    assert all(not share.cells for share in made.shares)
    assert len(ring_page(made)) < 150_000
