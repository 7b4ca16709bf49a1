"""What proxies ask of readers and leaders for each call of a client, and that it is bounded: I8.

A unit is asked for again only after an ask for it failed, or as a hedged copy while one is under
way, and at most a share of all asks are hedges. Invariant: an ask is counted with the client's
call that it was made for; what nodes ask by themselves is not.
"""

from __future__ import annotations

import contextvars
import itertools
from collections import Counter
from collections.abc import Iterator

import msgspec

from mishards.rpc.messages import (
    Fetch,
    Message,
    Query,
    QueryPartial,
    Reply,
    Search,
    SearchPartial,
    Write,
)
from mishards.testing.violation import Violation

CALL: contextvars.ContextVar[int] = contextvars.ContextVar("call", default=0)
"""The number of the client's call that is served in a context; 0 for none."""
MOST_HEDGES = 0.05
_MOST_PLANS = 3
"""Of one read: all of it is made anew where readers have moved on from the plan's metadata."""
_MOST_WRITES = 20
"""Of one call, sent to leaders: pauses between them double up to half a second."""

Round = tuple[int, type[Message], int, int, bool]
"""Asks that together answer one read: call, kind, metadata version, moment."""


class Ask(msgspec.Struct, eq=False):
    """One request of a proxy to a reader.

    Attributes:
        began: numbers asks and their ends in the order of time.
        ended: 0 while it is under way.
        failed: units that it did not answer for.
    """

    round: Round
    units: tuple[int, ...]
    began: int
    ended: int = 0
    failed: frozenset[int] = frozenset()


class Asked:
    """Records asks as they begin and end."""

    def __init__(self) -> None:
        self._clock = itertools.count(1)
        self._asks: dict[Round, list[Ask]] = {}
        self._writes: Counter[int] = Counter()
        self._requests = 0

    def begin(self, message: Message) -> Ask | None:
        """Note a request, where it is one that is counted."""
        if not (call := CALL.get()):
            return None
        if isinstance(message, Write):
            self._writes[call] += 1
        self._requests += isinstance(message, Search | Query | Fetch)
        if not isinstance(message, Search | Query):
            return None
        at = message.at
        growing = (-at.collection,) if at.growing else ()
        key = call, type(message), at.version, at.read_ts, at.from_storage
        ask = Ask(key, (*at.segments, *growing), next(self._clock))
        self._asks.setdefault(key, []).append(ask)
        return ask

    def end(self, ask: Ask, reply: Reply | None) -> None:
        """Note how a request ended; None: it failed, or was given up."""
        ask.ended = next(self._clock)
        if isinstance(reply, SearchPartial | QueryPartial):
            ask.failed = frozenset(failure.unit for failure in reply.failures)
        else:
            ask.failed = frozenset(ask.units)

    def check(self) -> Iterator[Violation]:
        """I8: retries are one per unit and failure, hedges at most a share of all requests."""
        hedged = 0
        for asks in self._asks.values():
            copies = {ask.began for ask in asks if _is_copy(ask, asks)}
            hedged += bool(copies)
            for unit in {unit for ask in asks for unit in ask.units}:
                yield from _check_unit(unit, asks, copies)
        if hedged > MOST_HEDGES * self._requests:
            yield Violation("I8", f"{hedged} of {self._requests} requests were hedged")
        for call, times in self._writes.items():
            if times > _MOST_WRITES:
                yield Violation("I8", f"call {call} was sent to leaders {times} times")


def _is_copy(ask: Ask, asks: list[Ask]) -> bool:
    """Whether it was made while another for one of its units was under way."""
    return any(
        other.began < ask.began
        and (not other.ended or other.ended > ask.began)
        and not set(other.units).isdisjoint(ask.units)
        for other in asks
    )


def _check_unit(unit: int, round_: list[Ask], copies: set[int]) -> Iterator[Violation]:
    asks = [ask for ask in round_ if unit in ask.units]
    failures = sum(unit in ask.failed for ask in asks[:-1])
    allowed = _MOST_PLANS + failures + sum(ask.began in copies for ask in asks)
    if len(asks) > allowed:
        what = f"{len(asks)} times after {failures} failures"
        yield Violation("I8", f"call {asks[0].round[0]} asked for unit {unit} {what}")
