"""What the writer remembers of mutations that are done: their tokens, and the log's tail.

Invariants: a token in the window gives the answer of its first mutation. The tail is what a start
reads again so that tokens of sealed mutations are known after a takeover too, and what is kept of
the log in any case.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque

from mishards.core.ids import EntrySeq
from mishards.log.entry import Entry
from mishards.rpc.messages import Written
from mishards.writer.config import WriterConfig


class TokenWindow:
    """The answers of the newest mutations, by token."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._answers: OrderedDict[bytes, Written] = OrderedDict()

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, token: bytes) -> Written | None:
        return self._answers.get(token)

    def add(self, token: bytes, answer: Written) -> None:
        self._answers[token] = answer
        while len(self._answers) > self._capacity:
            self._answers.popitem(last=False)


class LogTail:
    """Where the newest entries begin: those that a start reads for their tokens, and those that
    are kept for nodes that are behind. The last entry is always among both."""

    def __init__(self, config: WriterConfig, first: EntrySeq) -> None:
        """`first`: of the entries that will be added; what came before it is not known."""
        self._tokens = _Newest(
            first,
            most_bytes=config.replay_tail_bytes,
            most_items=config.token_window,
            most_s=config.token_window_s,
        )
        self._kept = _Newest(
            EntrySeq(1), most_bytes=config.log_keep_bytes, most_items=config.log_keep_entries
        )

    def add(self, entry: Entry, size_bytes: int, now_s: float) -> None:
        """The next entry; `now_s` is monotonic time, so no wall clock makes a token too old."""
        self._tokens.add(entry.seq, size_bytes, len(entry.mutations), now_s)
        self._kept.add(entry.seq, size_bytes, 1, now_s)

    def tokens_from(self, now_s: float) -> EntrySeq:
        """The first entry whose tokens a start has to know."""
        return self._tokens.first(now_s)

    def keep_from(self) -> EntrySeq:
        """The first entry that is kept, whoever needs it."""
        return self._kept.first(0.0)


class _Newest:
    """The newest entries within limits, all of which hold at once."""

    def __init__(
        self, first: EntrySeq, *, most_bytes: int, most_items: int, most_s: float = math.inf
    ) -> None:
        self._first = first
        self._most_bytes = most_bytes
        self._most_items = most_items
        self._most_s = most_s
        self._bytes = 0
        self._items = 0
        self._entries: deque[tuple[EntrySeq, int, int, float]] = deque()

    def add(self, seq: EntrySeq, size_bytes: int, items: int, now_s: float) -> None:
        self._entries.append((seq, size_bytes, items, now_s))
        self._bytes += size_bytes
        self._items += items
        while self._bytes > self._most_bytes or self._items > self._most_items:
            if not self._drop_first():
                break

    def first(self, now_s: float) -> EntrySeq:
        while self._entries and now_s - self._entries[0][3] >= self._most_s:
            if not self._drop_first():
                break
        return self._first

    def _drop_first(self) -> bool:
        """False for the last entry, which stays: its ceiling binds the next leader."""
        if len(self._entries) == 1:
            return False
        _, size_bytes, items, _ = self._entries.popleft()
        self._bytes -= size_bytes
        self._items -= items
        self._first = self._entries[0][0]
        return True
