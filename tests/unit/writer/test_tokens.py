"""What a start reads again of the log's end, and what is kept of it."""

from __future__ import annotations

from mishards.core.ids import CollectionId, EntrySeq, Epoch, LogId, Timestamp
from mishards.log.entry import Entry, Mutation
from mishards.rpc.messages import Written
from mishards.writer.config import WriterConfig
from mishards.writer.tokens import LogTail, TokenWindow


def entry(seq: int, mutations: int = 1) -> Entry:
    one = Mutation(token=bytes(16), collection=CollectionId(1), timestamp=Timestamp(seq))
    return Entry(
        log_id=LogId(0),
        seq=EntrySeq(seq),
        epoch=Epoch(1),
        timestamp=Timestamp(seq),
        mutations=(one,) * mutations,
    )


def tail_of(count: int, *, every_s: float = 0.0, **limits: object) -> LogTail:
    """Entries 5, 6, … of 100 bytes each."""
    tail = LogTail(WriterConfig(**limits), EntrySeq(5))
    for number in range(count):
        tail.add(entry(5 + number), 100, number * every_s)
    return tail


def test_of_what_was_not_read_nothing_is_said_to_be_kept_or_forgotten() -> None:
    tail = tail_of(0)
    assert tail.tokens_from(1e9) == 5
    assert tail.keep_from() == 1
    assert tail_of(3).tokens_from(0.0) == 5
    assert tail_of(3).keep_from() == 1


def test_each_limit_of_the_tokens_holds() -> None:
    assert tail_of(10, replay_tail_bytes=350).tokens_from(0.0) == 12
    assert tail_of(10, token_window=4).tokens_from(0.0) == 11
    aging = tail_of(10, every_s=1.0, token_window_s=4.0)
    assert aging.tokens_from(9.0) == 11
    assert aging.tokens_from(9.5) == 11
    assert aging.tokens_from(10.0) == 12


def test_entries_without_mutations_count_for_no_tokens() -> None:
    tail = LogTail(WriterConfig(token_window=2), EntrySeq(1))
    for seq in range(1, 50):
        tail.add(entry(seq, mutations=2 if seq == 3 else 0), 100, 0.0)
    assert tail.tokens_from(0.0) == 1


def test_each_limit_of_what_is_kept_holds() -> None:
    assert tail_of(10, log_keep_entries=3).keep_from() == 12
    assert tail_of(10, log_keep_entries=3, log_keep_bytes=250).keep_from() == 13


def test_the_last_entry_is_always_among_them() -> None:
    tail = tail_of(10, replay_tail_bytes=0, log_keep_entries=0, token_window_s=0.0)
    assert tail.tokens_from(1e9) == 14
    assert tail.keep_from() == 14


def test_a_window_forgets_the_oldest_tokens() -> None:
    window = TokenWindow(2)
    answers = [Written(timestamp=Timestamp(n), seq=EntrySeq(n)) for n in range(3)]
    for number, answer in enumerate(answers):
        window.add(bytes([number]), answer)
    assert [window.get(bytes([number])) for number in range(3)] == [None, *answers[1:]]
