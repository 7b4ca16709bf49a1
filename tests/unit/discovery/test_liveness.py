import pytest

from mishards.core.ids import NodeId
from mishards.discovery.liveness import Beat, Liveness

TTL_S = 3.0
A, B = NodeId("a"), NodeId("b")
NOW_MS = 1_700_000_000_000
HOUR_MS = 3_600_000


class Reader:
    """Looks every half second of its own clock."""

    def __init__(self, now_ms: int = NOW_MS) -> None:
        self.liveness = Liveness(TTL_S)
        self.now_ms = now_ms
        self.monotonic_s = 100.0

    def look(
        self, beats: dict[NodeId, Beat], *, after_s: float = 0.5, writable: bool = True
    ) -> frozenset[NodeId]:
        self.monotonic_s += after_s
        return self.liveness.look(
            beats, monotonic_s=self.monotonic_s, now_ms=self.now_ms, writable=writable
        )


def test_a_recent_row_is_live_at_first_sight_and_an_old_one_is_not() -> None:
    found = Reader().look({A: (5, NOW_MS - 1000), B: (5, NOW_MS - HOUR_MS)})
    assert found == {A}


@pytest.mark.parametrize("error_ms", [-HOUR_MS, HOUR_MS])
def test_a_node_with_a_wrong_clock_is_live_from_its_next_beat_on(error_ms: int) -> None:
    reader = Reader()
    assert reader.look({A: (1, NOW_MS + error_ms)}) == frozenset()
    for beat in range(2, 30):
        assert reader.look({A: (beat, NOW_MS + error_ms)}) == {A}


def test_a_clock_that_jumps_back_is_a_sign_of_life() -> None:
    reader = Reader()
    reader.look({A: (1, NOW_MS)})
    for _ in range(10):
        reader.look({A: (1, NOW_MS)})
    assert reader.look({A: (1, NOW_MS - HOUR_MS)}) == {A}


def test_silence_of_the_time_to_live_ends_a_node() -> None:
    reader = Reader()
    looks = [reader.look({A: (1, NOW_MS)}) for _ in range(8)]
    assert looks == [{A}] * 6 + [frozenset()] * 2


def test_nobody_is_dead_after_a_long_pause_of_the_reader() -> None:
    reader = Reader()
    reader.look({A: (1, NOW_MS)})
    assert reader.look({A: (1, NOW_MS)}, after_s=600) == {A}
    assert reader.look({A: (2, NOW_MS)}) == {A}


def test_who_cannot_write_judges_nobody() -> None:
    reader = Reader()
    reader.look({A: (1, NOW_MS)})
    for _ in range(100):
        assert reader.look({A: (1, NOW_MS)}, writable=False) == {A}
    looks = [reader.look({A: (1, NOW_MS)}) for _ in range(6)]
    assert looks[0] == {A}
    assert looks[-1] == frozenset()


def test_a_row_that_is_gone_is_forgotten() -> None:
    reader = Reader()
    reader.look({A: (1, NOW_MS)})
    assert reader.look({}) == frozenset()
    assert reader.look({A: (1, NOW_MS)}) == {A}


def test_long_silent_rows_are_named_with_their_beat() -> None:
    reader = Reader()
    for beat in range(30):
        reader.look({A: (1, NOW_MS), B: (beat, NOW_MS)})
    assert reader.liveness.silent_for(10.0) == {A: (1, NOW_MS)}
