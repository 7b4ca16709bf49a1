"""Numbers as people read them."""

import pytest

from mishards.api.http.console import figures
from mishards.api.http.console.paging import cut


@pytest.mark.parametrize(
    ("size_bytes", "said"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (123_456, "123 kB"), (1.2e9, "1.2 GB"),
     (999_999, "1 MB"), (5e17, "500 PB")],
)  # fmt: skip
def test_sizes(size_bytes: float, said: str):
    assert figures.size(size_bytes) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.00035, "350 µs"), (0.0123, "12.3 ms"), (4.2, "4.2 s"), (42, "42 s"), (180, "3 min"),
     (18_000, "5 h"), (200_000, "2 days")],
)  # fmt: skip
def test_durations(seconds: float, said: str):
    assert figures.duration(seconds) == said


def test_counts_and_clocks():
    assert figures.count(1_234_567) == "1,234,567"
    assert figures.large(99_999_999) == "99,999,999"
    assert figures.large(482_000_000) == "482 million"
    assert figures.large(4_816_850_000) == "4.82 billion"
    assert figures.plural(1, "row") == "1 row"
    assert figures.plural(2, "entry", "entries") == "2 entries"
    assert figures.clock(1_780_000_000_000) == "20:26:40 UTC"


def test_a_page_that_is_not_there_is_the_nearest():
    items = list(range(120))
    assert [cut(items, n).items[0] for n in (-5, 1, 2, 3, 99)] == [0, 0, 50, 100, 100]
    assert (cut(items, 3).pages, len(cut(items, 3).items), cut(items, 3).total) == (3, 20, 120)
    assert cut([], 7).number == 1
