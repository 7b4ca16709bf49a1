"""Sending sub-requests to readers: fail-over of only what failed, and hedged copies.

Invariants: a unit is answered for exactly once in what `scatter` returns; a unit is tried on each
reader at most once per branch; nothing is sent past the deadline; a read that cannot be complete
is an error. A reader that answers nothing at all for a while counts as failed, hedged or not; one
that works long does not, since it still says how it is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from mishards.cluster.membership import Membership
from mishards.core.errors import (
    DeadlineExceeded,
    MishardsError,
    SegmentUnavailable,
    StalePlan,
    Unavailable,
    error_class,
)
from mishards.core.ids import NodeId
from mishards.core.runtime import Runtime
from mishards.proxy.config import ProxyConfig
from mishards.routing.protocol import Unit
from mishards.rpc.messages import Message, NodeStatus, UnitFailure
from mishards.rpc.protocol import Channel, Transport


class _Partial(Protocol):
    @property
    def failures(self) -> tuple[UnitFailure, ...]: ...


P = TypeVar("P", bound=_Partial)
Served = list[tuple[Sequence[Unit], P]]
"""Answers, each with the units it is for."""
MakeRequest = Callable[[Sequence[Unit]], Message]


class HedgeClock:
    """When to send a hedged copy: after the tail of recent latencies, within a budget."""

    def __init__(self, config: ProxyConfig) -> None:
        self._config = config
        self._recent: deque[float] = deque(maxlen=256)
        self._sent = 0
        self._hedged = 0
        self._delay_s = 0.0

    def observe(self, latency_s: float) -> None:
        self._recent.append(latency_s)
        if len(self._recent) >= 16 and self._sent % 32 == 0:
            tail = sorted(self._recent)[int(len(self._recent) * 0.95)]
            self._delay_s = max(2 * tail, self._config.hedge_least_ms / 1000)

    def delay_s(self) -> float | None:
        """How long to wait before a copy; None while too little is known."""
        self._sent += 1
        return self._delay_s if self._config.hedge and self._delay_s else None

    def take(self) -> bool:
        """Whether the budget allows one more copy; counts it."""
        if self._hedged + 1 > self._config.hedge_budget * self._sent:
            return False
        self._hedged += 1
        return True


class Assignment(msgspec.Struct, frozen=True, dict=True):
    """Units of a read and, per unit, the readers in order of preference."""

    preferences: dict[Unit, tuple[NodeId, ...]]
    units: tuple[Unit, ...]
    growing: Unit | None = None

    @cached_property
    def groups(self) -> dict[NodeId, list[Unit]]:
        """All units by their first readers. Raises as `group`."""
        return self.group(self.units, frozenset())

    def group(self, units: Sequence[Unit], excluded: frozenset[NodeId]) -> dict[NodeId, list[Unit]]:
        """Units by the first reader that is not excluded.

        Growing rows are known to every reader, so they go to a reader that is asked anyway.

        Raises:
            SegmentUnavailable: a unit has no reader left.
        """
        groups: dict[NodeId, list[Unit]] = {}
        for unit in units:
            if unit != self.growing:
                groups.setdefault(self._first(unit, excluded), []).append(unit)
        if self.growing is not None and self.growing in units:
            node = next((n for n in self.preferences[self.growing] if n in groups), None)
            node = node or self._first(self.growing, excluded)
            groups.setdefault(node, []).append(self.growing)
        return groups

    def _first(self, unit: Unit, excluded: frozenset[NodeId]) -> NodeId:
        for node in self.preferences[unit]:
            if node not in excluded:
                return node
        what = "the growing rows" if unit < 0 else f"segment {unit}"
        raise SegmentUnavailable(f"no live reader could serve {what}; tried {sorted(excluded)}")


class _Attempt(Generic[P]):
    """Units that one reader was asked for; `others` are not to be asked for them any more."""

    __slots__ = ("answer", "node", "others", "started_s", "units")

    def __init__(
        self,
        node: NodeId,
        units: Sequence[Unit],
        others: frozenset[NodeId],
        started_s: float,
        answer: asyncio.Future[P],
    ) -> None:
        self.node = node
        self.units = units
        self.others = others
        self.started_s = started_s
        self.answer = answer


class Scatter(Generic[P]):
    """One scattered read."""

    def __init__(
        self,
        runtime: Runtime,
        transport: Transport,
        membership: Membership,
        config: ProxyConfig,
        hedges: HedgeClock,
        assignment: Assignment,
        make_request: MakeRequest,
        deadline_s: float,
    ) -> None:
        self._runtime = runtime
        self._transport = transport
        self._membership = membership
        self._config = config
        self._hedges = hedges
        self._assignment = assignment
        self._make_request = make_request
        self._deadline_s = deadline_s
        self._addresses = {node.id: node.address for node in membership.view.nodes}

    async def run(self) -> Served[P]:
        """The partials that together answer for all units of the plan, each unit once."""
        return await self._spread(self._assignment.units, frozenset())

    async def _spread(self, units: Sequence[Unit], excluded: frozenset[NodeId]) -> Served[P]:
        """Answer for `units` from the readers that are not excluded, all asked at once."""
        assignment = self._assignment
        groups = assignment.group(units, excluded) if excluded else assignment.groups
        attempts: list[_Attempt[P]] = []
        try:
            for node, group in groups.items():
                attempts.append(self._start(node, group, excluded | {node}))
            hedging = await self._wait(attempts)
            served: Served[P] = []
            for attempt in attempts:
                if attempt.answer.done():
                    served += await self._finish(attempt)
                elif hedging:
                    served += await self._finish_hedged(attempt)
                else:
                    served += await self._finish_slow(attempt)
            return served
        finally:
            for attempt in attempts:
                attempt.answer.cancel()

    def _start(self, node: NodeId, units: Sequence[Unit], others: frozenset[NodeId]) -> _Attempt[P]:
        started = self._runtime.monotonic_s()
        remaining = self._deadline_s - started
        if remaining <= 0:
            raise DeadlineExceeded("the read's deadline passed before all readers had answered")
        answer = self._ask(node, self._make_request(units), remaining)
        return _Attempt(node, units, others, started, answer)

    def _ask(self, node: NodeId, message: Message, timeout_s: float) -> asyncio.Future[Any]:
        if (address := self._addresses.get(node)) is None:
            gone: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            gone.set_exception(Unavailable(f"reader {node} left between plan and request"))
            return gone
        channel: Channel = self._transport.channel(address)
        answer: asyncio.Future[Any] | None = channel.begin(message, timeout_s=timeout_s)
        return answer or asyncio.ensure_future(channel.call(message, timeout_s=timeout_s))

    async def _wait(self, attempts: Sequence[_Attempt[P]]) -> bool:
        """Until all have answered, or one is slow; whether slow ones may be hedged."""
        delay = self._hedges.delay_s()
        timeout = self._config.stall_s if delay is None else delay
        if attempts:
            await asyncio.wait(
                [attempt.answer for attempt in attempts],
                timeout=timeout if self._alternatives_exist(attempts) else None,
            )
        return delay is not None

    def _alternatives_exist(self, attempts: Sequence[_Attempt[P]]) -> bool:
        return any(self._has_alternative(a.units, a.others) for a in attempts)

    def _has_alternative(self, units: Sequence[Unit], excluded: frozenset[NodeId]) -> bool:
        preferences = self._assignment.preferences
        return all(any(n not in excluded for n in preferences[unit]) for unit in units)

    async def _finish(self, attempt: _Attempt[P]) -> Served[P]:
        """The attempt's answer, completed by the next readers where it failed."""
        try:
            partial = await attempt.answer
        except StalePlan:
            raise
        except MishardsError as error:
            if error.input_fault or not error.retriable:
                raise
            self._membership.suspect(attempt.node, self._config.suspect_s)
            return await self._retry(attempt.units, attempt.others, error)
        self._hedges.observe(self._runtime.monotonic_s() - attempt.started_s)
        if not partial.failures:
            return [(attempt.units, partial)]
        failed = [failure.unit for failure in partial.failures]
        first = partial.failures[0]
        cause = error_class(first.error)(first.message)
        if isinstance(cause, StalePlan):
            raise cause
        rest = await self._retry(failed, attempt.others, cause)
        return [([unit for unit in attempt.units if unit not in failed], partial), *rest]

    async def _retry(
        self, units: Sequence[Unit], others: frozenset[NodeId], cause: MishardsError
    ) -> Served[P]:
        """Send to the next readers; where there are none, the cause is the answer."""
        if not self._has_alternative(units, others):
            raise cause
        return await self._spread(units, others)

    async def _finish_hedged(self, attempt: _Attempt[P]) -> Served[P]:
        """A slow attempt: a copy goes to the next readers, and the first whole answer counts."""
        if not self._has_alternative(attempt.units, attempt.others) or not self._hedges.take():
            return await self._finish_slow(attempt)
        running = {
            asyncio.ensure_future(self._finish_slow(attempt)),
            asyncio.ensure_future(self._spread(attempt.units, attempt.others)),
        }
        try:
            return await self._first_success(running)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _finish_slow(self, attempt: _Attempt[P]) -> Served[P]:
        """As `_finish`; a reader that stands still is given up for the next ones."""
        if not self._has_alternative(attempt.units, attempt.others):
            return await self._finish(attempt)
        while not (await asyncio.wait([attempt.answer], timeout=self._config.stall_s))[0]:
            if not await self._is_alive(attempt.node):
                attempt.answer.cancel()
                self._membership.suspect(attempt.node, self._config.suspect_s)
                silent = Unavailable(f"reader {attempt.node} stands still")
                return await self._retry(attempt.units, attempt.others, silent)
        return await self._finish(attempt)

    async def _is_alive(self, node: NodeId) -> bool:
        """Whether the reader answers the least of all questions."""
        left_s = self._deadline_s - self._runtime.monotonic_s()
        try:
            await self._ask(node, NodeStatus(), min(self._config.stall_s, max(left_s, 0.0)))
        except MishardsError:
            return False
        return True

    @staticmethod
    async def _first_success(running: set[asyncio.Task[Served[P]]]) -> Served[P]:
        left = set(running)
        while True:
            done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if task.exception() is None or not left:
                    return task.result()
