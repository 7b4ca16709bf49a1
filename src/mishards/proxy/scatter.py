"""Sending sub-requests to readers: fail-over of only what failed, and hedged copies.

Invariants: a unit is answered for exactly once in what is gathered, or is named there as missing.
It is missing only where partial answers are allowed and every reader has failed it; otherwise a
read that cannot be complete is an error. A unit is tried on each reader at most once per branch;
nothing is sent past the deadline. A reader that answers nothing at all for a while counts as
failed, hedged or not; one that works long does not, since it still says how it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from mishards.cluster.membership import Membership
from mishards.core.errors import (
    DeadlineExceeded,
    MishardsError,
    StalePlan,
    Unavailable,
    error_class,
)
from mishards.core.ids import NodeId
from mishards.core.runtime import Runtime
from mishards.observability.tracing import current
from mishards.proxy.assignment import Assignment
from mishards.proxy.config import ProxyConfig
from mishards.proxy.hedging import HedgeClock
from mishards.proxy.measures import ProxyMeasures
from mishards.proxy.traced import Asked, error_text, span_name
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
Missing = Mapping[Unit, MishardsError]
"""Units that no reader served, and why."""


class Gathered(NamedTuple, Generic[P]):
    """What a scattered read brought: answers, and the units that none of them is for."""

    served: Served[P]
    missing: Missing

    def with_more(self, other: Gathered[P]) -> Gathered[P]:
        return Gathered([*self.served, *other.served], {**self.missing, **other.missing})


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
        measures: ProxyMeasures | None = None,
        *,
        partial: bool = False,
    ) -> None:
        """`partial`: leave out what no reader can serve, instead of failing."""
        self._runtime = runtime
        self._transport = transport
        self._membership = membership
        self._config = config
        self._hedges = hedges
        self._assignment = assignment
        self._make_request = make_request
        self._deadline_s = deadline_s
        self._measures = measures or ProxyMeasures()
        self._partial = partial
        self._recorder = current()
        self._stage = None if self._recorder is None else self._recorder.stage
        self._addresses = {node.id: node.address for node in membership.view.nodes}

    async def run(self) -> Gathered[P]:
        """The partials that together answer for all units of the plan, each unit once."""
        return await self._spread(self._assignment.units, frozenset())

    async def _spread(self, units: Sequence[Unit], excluded: frozenset[NodeId]) -> Gathered[P]:
        """Answer for `units` from the readers that are not excluded, all asked at once."""
        assignment = self._assignment
        groups = assignment.group(units, excluded) if excluded else assignment.groups
        attempts: list[_Attempt[P]] = []
        try:
            for node, group in groups.items():
                attempts.append(self._start(node, group, excluded | {node}))
            hedging = await self._wait(attempts)
            gathered: Gathered[P] = Gathered([], {})
            for attempt in attempts:
                if attempt.answer.done():
                    found = await self._finish(attempt)
                elif hedging:
                    found = await self._finish_hedged(attempt)
                else:
                    found = await self._finish_slow(attempt)
                gathered = gathered.with_more(found)
            return gathered
        finally:
            for attempt in attempts:
                attempt.answer.cancel()

    def _start(self, node: NodeId, units: Sequence[Unit], others: frozenset[NodeId]) -> _Attempt[P]:
        started = self._runtime.monotonic_s()
        remaining = self._deadline_s - started
        if remaining <= 0:
            raise DeadlineExceeded("the read's deadline passed before all readers had answered")
        self._measures.sub_requests.inc()
        message = self._make_request(units)
        recorder = self._recorder
        if recorder is None:
            return _Attempt(node, units, others, started, self._ask(node, message, remaining))
        span = recorder.open(
            span_name(message, self._addresses.get(node, node)), within=self._stage
        )
        span.attributes = {"reader": node, "units": len(units), "readers_tried": len(others) - 1}
        answer = self._ask(node, message, remaining, recorder.traceparent(span))
        answer.add_done_callback(Asked(recorder, span))
        return _Attempt(node, units, others, started, answer)

    def _note(self, event: str, node: NodeId, **attributes: str | int) -> None:
        """Record that something went otherwise than it should."""
        if self._recorder is not None:
            self._recorder.event(event, self._stage, reader=node, **attributes)

    def _ask(
        self, node: NodeId, message: Message, timeout_s: float, traceparent: str = ""
    ) -> asyncio.Future[Any]:
        if (address := self._addresses.get(node)) is None:
            gone: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            gone.set_exception(Unavailable(f"reader {node} left between plan and request"))
            return gone
        channel: Channel = self._transport.channel(address)
        answer: asyncio.Future[Any] | None = channel.begin(
            message, timeout_s=timeout_s, traceparent=traceparent
        )
        return answer or asyncio.ensure_future(
            channel.call(message, timeout_s=timeout_s, traceparent=traceparent)
        )

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
        return self._partial or any(self._has_alternative(a.units, a.others) for a in attempts)

    def _has_alternative(self, units: Sequence[Unit], excluded: frozenset[NodeId]) -> bool:
        preferences = self._assignment.preferences
        return all(any(n not in excluded for n in preferences[unit]) for unit in units)

    async def _finish(self, attempt: _Attempt[P]) -> Gathered[P]:
        """The attempt's answer, completed by the next readers where it failed."""
        try:
            partial = await attempt.answer
        except StalePlan:
            raise
        except MishardsError as error:
            if error.input_fault or not error.retriable:
                raise
            self._suspect(attempt.node)
            return await self._retry(attempt, dict.fromkeys(attempt.units, error))
        taken_s = self._runtime.monotonic_s() - attempt.started_s
        self._hedges.observe(taken_s)
        self._measures.sub_request_seconds.observe(taken_s)
        if not partial.failures:
            return Gathered([(attempt.units, partial)], {})
        causes = {f.unit: error_class(f.error)(f.message) for f in partial.failures}
        for cause in causes.values():
            if isinstance(cause, StalePlan):
                raise cause
        rest = await self._retry(attempt, causes)
        served = [unit for unit in attempt.units if unit not in causes]
        return Gathered([(served, partial)], {}).with_more(rest)

    async def _retry(self, attempt: _Attempt[P], causes: Missing) -> Gathered[P]:
        """Send units that failed to the next readers.

        Where there are none, the cause is the answer, or the units are missing.
        """
        others = attempt.others
        why = error_text(next(iter(causes.values())))
        self._note("retry", attempt.node, units=len(causes), cause=why)
        left = [unit for unit in causes if self._has_alternative((unit,), others)]
        missing = {unit: cause for unit, cause in causes.items() if unit not in left}
        if missing and not self._partial:
            raise next(iter(missing.values()))
        found: Gathered[P] = Gathered([], missing)
        if not left:
            return found
        self._measures.retries.inc()
        return found.with_more(await self._spread(left, others))

    def _suspect(self, node: NodeId) -> None:
        self._measures.suspicions.inc()
        self._membership.suspect(node, self._config.suspect_s)

    async def _finish_hedged(self, attempt: _Attempt[P]) -> Gathered[P]:
        """A slow attempt: a copy goes to the next readers, and the first whole answer counts."""
        if not self._has_alternative(attempt.units, attempt.others) or not self._hedges.take():
            return await self._finish_slow(attempt)
        self._measures.hedges.inc()
        self._note("hedge", attempt.node, units=len(attempt.units))
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

    async def _finish_slow(self, attempt: _Attempt[P]) -> Gathered[P]:
        """As `_finish`; a reader that stands still is given up for the next ones."""
        if not self._partial and not self._has_alternative(attempt.units, attempt.others):
            return await self._finish(attempt)
        while not (await asyncio.wait([attempt.answer], timeout=self._config.stall_s))[0]:
            if not await self._is_alive(attempt.node):
                attempt.answer.cancel()
                self._suspect(attempt.node)
                silent = Unavailable(f"reader {attempt.node} stands still")
                return await self._retry(attempt, dict.fromkeys(attempt.units, silent))
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
    async def _first_success(running: set[asyncio.Task[Gathered[P]]]) -> Gathered[P]:
        """The first whole answer; where there is none, the one that misses least, or the error."""
        left = set(running)
        best: Gathered[P] | None = None
        while True:
            done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
            for found in [task.result() for task in done if task.exception() is None]:
                if best is None or len(found.missing) < len(best.missing):
                    best = found
            if best is not None and (not best.missing or not left):
                return best
            if not left:
                return done.pop().result()
