"""The slow list keeps the newest slow and failed traces, and no others."""

from __future__ import annotations

import pytest

from mishards.observability.slow import SlowTraces
from mishards.observability.spans import Span, Trace


def trace(name: str) -> Trace:
    return Trace("0" * 31 + "1", False, (Span(name, 1, 0, 0, 1, "n"),))


@pytest.mark.parametrize("most", [0, 2, 10])
def test_the_newest_are_kept(most: int) -> None:
    slow = SlowTraces(most)
    for number in range(5):
        slow.take(trace(str(number)), "failed" if number % 2 else "slow")
        slow.take(trace("chosen"), "sampled")
    names = [kept.root.name for kept in slow.newest_first()]
    assert names == ["4", "3", "2", "1", "0"][:most]
