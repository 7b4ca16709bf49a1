"""Mutations that wait for the log, and those who wait for their answers.

Invariants: a token is queued at most once, however many calls wait for it; a mutation that nobody
waits for any more is passed over until it has its timestamp. Used on the loop's thread only.
"""

from __future__ import annotations

import asyncio
from collections import deque

from mishards.core.errors import MishardsError
from mishards.log.entry import Mutation
from mishards.rpc.messages import Write, Written

Waiter = asyncio.Future[Written]


class GroupTimes:
    """What became of a group, in Unix time in nanoseconds; 0 for what did not.

    Attributes:
        taken_ns: it was taken from the queue.
        appended_ns: its entry is durable.
        pushed_ns: those who follow the log were told.
    """

    __slots__ = ("appended_ns", "bytes", "mutations", "pushed_ns", "seq", "taken_ns")

    def __init__(self, taken_ns: int, mutations: int) -> None:
        self.taken_ns = taken_ns
        self.appended_ns = self.pushed_ns = 0
        self.seq = self.bytes = 0
        self.mutations = mutations


class Pending:
    """One mutation and its waiters; `mutation` once it has a timestamp, `times` once it is in a
    group."""

    def __init__(self, message: Write, since_s: float) -> None:
        """`since_s`: when it came, on the monotonic clock."""
        self.message = message
        self.times: GroupTimes | None = None
        self.since_s = since_s
        self.size_bytes = len(message.rows) + len(message.keys)
        self.mutation: Mutation | None = None
        self._waiters: list[Waiter] = []

    @property
    def is_wanted(self) -> bool:
        return any(not waiter.done() for waiter in self._waiters)

    def wait(self) -> Waiter:
        waiter: Waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        return waiter

    def resolve(self, answer: Written) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(answer)

    def refuse(self, error: MishardsError) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(type(error)(error.message))


class WriteQueue:
    """Pending mutations in the order they came."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self._waiting: deque[Pending] = deque()
        self._by_token: dict[bytes, Pending] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and nothing is being written."""
        return not self._by_token

    def find(self, token: bytes) -> Pending | None:
        return self._by_token.get(token)

    def put(self, pending: Pending) -> None:
        self._waiting.append(pending)
        self._by_token[pending.message.token] = pending
        self.size_bytes += pending.size_bytes

    def take(self, most_bytes: int) -> list[Pending]:
        """The next group: at least one where there is any, and no more than fits."""
        group: list[Pending] = []
        size = 0
        while self._waiting:
            pending = self._waiting[0]
            if not pending.is_wanted:
                self._waiting.popleft()
                self.done(pending)
                continue
            size += pending.size_bytes
            if group and size > most_bytes:
                break
            group.append(self._waiting.popleft())
        return group

    def done(self, pending: Pending) -> None:
        """Forget a mutation that was answered."""
        if self._by_token.pop(pending.message.token, None) is not None:
            self.size_bytes -= pending.size_bytes

    def refuse_all(self, error: MishardsError) -> None:
        """Answer everybody, those whose mutation is being written included."""
        for pending in list(self._by_token.values()):
            pending.refuse(error)
        self._waiting.clear()
        self._by_token.clear()
        self.size_bytes = 0
