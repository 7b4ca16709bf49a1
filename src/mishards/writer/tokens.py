"""What the writer remembers of mutations that are done: their tokens, and the log's tail.

Invariants: a token in the window gives the answer of its first mutation. The tail is what a start
reads again so that tokens of sealed mutations are known after a takeover too.
"""

from __future__ import annotations

from collections import OrderedDict, deque

from mishards.core.ids import EntrySeq
from mishards.rpc.messages import Written


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
    """Where the last `most_bytes` of the log begin."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._entries: deque[tuple[EntrySeq, int]] = deque()

    def add(self, seq: EntrySeq, size_bytes: int) -> None:
        self._entries.append((seq, size_bytes))
        self._bytes += size_bytes
        while self._bytes > self._most_bytes:
            self._bytes -= self._entries.popleft()[1]

    def first(self, next_seq: EntrySeq) -> EntrySeq:
        """The first entry of the tail; `next_seq` when it is empty."""
        return self._entries[0][0] if self._entries else next_seq
