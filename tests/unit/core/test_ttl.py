"""Which rows have outlived their collection's TTL."""

from __future__ import annotations

import pytest

from mishards.core.errors import InvalidParameter
from mishards.core.timestamps import compose
from mishards.core.ttl import MOST_TTL_S, TTL_PROPERTY, expired_up_to, ttl_of


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("", 0), ("0", 0), ("-1", 0), ("1", 1), (" 60 ", 60), (str(MOST_TTL_S), MOST_TTL_S)],
)
def test_what_is_a_time_to_live(text: str, seconds: int) -> None:
    assert ttl_of((("other", "x"), (TTL_PROPERTY, text))) == seconds


def test_without_the_property_rows_live_for_ever() -> None:
    assert ttl_of(()) == 0
    assert expired_up_to(0, compose(10**12)) == 0


@pytest.mark.parametrize("text", ["-2", str(MOST_TTL_S + 1), "9" * 50, "--1", "-", "1_0", "x"])
def test_what_is_none(text: str) -> None:
    with pytest.raises(InvalidParameter, match=r"(?i)ttl"):
        ttl_of(((TTL_PROPERTY, text),))


def test_rows_expire_when_they_are_as_old_as_that() -> None:
    now = compose(1_000_000, 7)
    assert expired_up_to(10, now) == compose(990_000)
    assert expired_up_to(MOST_TTL_S, now) == 0
