from __future__ import annotations

from mishards.writer.construction import Construction


def test_objects_and_folders_are_held_for_the_length_of_the_body() -> None:
    construction = Construction()
    with construction.holding(["a/1/", "b/x"]):
        assert construction.covers("a/1/columns")
        assert construction.covers("b/x")
        assert not construction.covers("a/11/columns")
        assert not construction.covers("b/xy")
    assert not construction.covers("a/1/columns")
    assert not construction.covers("b/x")


def test_what_two_hold_stays_held_until_both_are_done() -> None:
    construction = Construction()
    with construction.holding(["a"]):
        with construction.holding(["a"]):
            pass
        assert construction.covers("a")
    assert not construction.covers("a")


def test_a_body_that_fails_holds_nothing_any_more() -> None:
    construction = Construction()
    try:
        with construction.holding(["a"]):
            raise ValueError
    except ValueError:
        pass
    assert not construction.covers("a")
