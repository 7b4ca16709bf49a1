"""What every read of a proxy shares: deadline, moment, plan, scatter."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from mishards.cluster.membership import Membership, MembershipView
from mishards.core.errors import DeadlineExceeded, SegmentUnavailable, Unavailable
from mishards.core.ids import MetadataVersion, NodeId, SegmentId, Timestamp
from mishards.core.runtime import Runtime
from mishards.core.ttl import expired_up_to
from mishards.metadata.in_use import VersionsInUse
from mishards.metadata.snapshot import CollectionView
from mishards.observability.tracing import Hops, Recorder, current
from mishards.proxy.assignment import Assignment
from mishards.proxy.calls import QueryCall, SearchCall
from mishards.proxy.config import ProxyConfig
from mishards.proxy.consistency import ConsistencyClock, Moment
from mishards.proxy.hedging import HedgeClock
from mishards.proxy.measures import ProxyMeasures
from mishards.proxy.plan import Router, RouteTable, Scope
from mishards.proxy.scatter import Gathered, Missing, P, Scatter
from mishards.proxy.state import ProxyState
from mishards.proxy.traced import span_name, spans_of
from mishards.routing.protocol import Unit
from mishards.rpc.messages import (
    Message,
    QueryPartial,
    ReadPoint,
    Reply,
    Rows,
    SearchPartial,
)
from mishards.rpc.protocol import Transport

_READER_POLL_S = 0.05
_PATIENCE_S = 0.1
"""How long a thread waits for readers itself, before the loop takes over with its fail-over."""
_KEPT_PLANS = 512


R = TypeVar("R", SearchPartial, QueryPartial)


class ReadPlan(msgspec.Struct, frozen=True):
    """A read on one snapshot: its scope and who may serve each unit."""

    view: CollectionView
    version: MetadataVersion
    scope: Scope
    table: RouteTable
    assignment: Assignment

    def narrowed(self, units: tuple[Unit, ...]) -> Assignment:
        """The plan's assignment for some of its units."""
        return Assignment(self.assignment.preferences, units, self.assignment.growing)

    def without(self, missing: Missing) -> ReadPlan:
        """The plan for what is not missing."""
        if not missing:
            return self
        units = tuple(unit for unit in self.assignment.units if unit not in missing)
        return msgspec.structs.replace(self, assignment=self.narrowed(units))

    def point(self, units: Sequence[Unit], moment: Moment) -> ReadPoint:
        """What a reader of `units` is told."""
        return read_point(self.view, self.version, self.scope, units, moment)


def read_point(
    view: CollectionView,
    version: MetadataVersion,
    scope: Scope,
    units: Sequence[Unit],
    moment: Moment,
) -> ReadPoint:
    return ReadPoint(
        collection=view.id,
        version=version,
        log=view.meta.log_id,
        checkpoint=view.meta.checkpoint,
        read_ts=moment.read_ts,
        from_storage=moment.from_storage,
        claimed=moment.claimed,
        segments=tuple(SegmentId(unit) for unit in units if unit > 0),
        growing=-view.id in units,
        partitions=scope.partitions,
        expired=moment.expired,
    )


class Reading:
    """The shared steps of searches and queries."""

    def __init__(
        self,
        runtime: Runtime,
        config: ProxyConfig,
        transport: Transport,
        membership: Membership,
        state: ProxyState,
        router: Router,
        consistency: ConsistencyClock,
        measures: ProxyMeasures,
    ) -> None:
        self.measures = measures
        self.clock = runtime.monotonic_s
        self._runtime = runtime
        self._config = config
        self._transport = transport
        self._membership = membership
        self._router = router
        self._consistency = consistency
        self._hedges = HedgeClock(config)
        self._plans: dict[int, ReadPlan] = {}
        self._known_addresses: tuple[MembershipView, dict[NodeId, str]] = (membership.view, {})
        self.state = state
        self.in_use = VersionsInUse(lambda: state.snapshot.version)
        """To be held by whoever plans on the state's snapshot, until the read ends."""

    def deadline_s(self, timeout_s: float) -> float:
        """The end of a call that starts now, on the monotonic clock."""
        return self._runtime.monotonic_s() + timeout_s

    def moment_now(self, call: SearchCall | QueryCall, view: CollectionView) -> Moment | None:
        level = view.meta.consistency if call.consistency is None else call.consistency
        moment = self._consistency.moment_now(view.meta.log_id, level, call.guarantee_ts)
        return None if moment is None else self._aged(moment, view)

    def _aged(self, moment: Moment, view: CollectionView) -> Moment:
        """Without what has outlived the collection's TTL."""
        if not (ttl_s := view.meta.ttl_s):
            return moment
        expired = expired_up_to(ttl_s, self.state.log_time(view.meta.log_id))
        return msgspec.structs.replace(moment, expired=expired)

    async def moment(
        self, call: SearchCall | QueryCall, view: CollectionView, deadline_s: float
    ) -> Moment:
        if isinstance(call, QueryCall) and call.as_of:
            return self._aged(Moment(Timestamp(call.as_of)), view)
        level = view.meta.consistency if call.consistency is None else call.consistency
        remaining = deadline_s - self._runtime.monotonic_s()
        log_id = view.meta.log_id
        moment = await self._consistency.moment(log_id, level, call.guarantee_ts, remaining)
        return self._aged(moment, view)

    def table(self, view: CollectionView) -> RouteTable:
        """Preference lists of the collection among the readers of this moment."""
        members = self._membership.view
        readers = [node.id for node in self._membership.readers()]
        return self._router.table(view, members.version, readers)

    def plan_now(
        self, view: CollectionView, scope: Scope, version: MetadataVersion
    ) -> ReadPlan | None:
        """Who serves what; None while there is no reader. Any thread.

        A scope's plan is kept for as long as the same readers serve the same units.
        """
        if not self._membership.readers():
            return None
        table = self.table(view)
        kept = self._plans.get(id(scope))
        if kept is not None and kept.scope is scope and kept.table is table:
            return kept
        units = all_units(view, scope)
        replicas = max(1, view.meta.replica_number)
        preferences = {
            unit: _rotated(table.preferences[unit], replicas, self._runtime.random.random())
            for unit in units
        }
        assignment = Assignment(preferences, units, -view.id if scope.growing else None)
        plan = ReadPlan(view, version, scope, table, assignment)
        if replicas == 1:
            if len(self._plans) >= _KEPT_PLANS:
                self._plans.clear()
            self._plans[id(scope)] = plan
        return plan

    async def plan(
        self, view: CollectionView, scope: Scope, version: MetadataVersion, deadline_s: float
    ) -> ReadPlan:
        """As `plan_now`; waits a while for a first reader to appear.

        Raises:
            SegmentUnavailable: there is none.
        """
        plan = self.plan_now(view, scope, version)
        while plan is None:
            await self._some_reader(deadline_s)
            plan = self.plan_now(view, scope, version)
        return plan

    def ask_now(
        self,
        assignment: Assignment,
        request: Callable[[Sequence[Unit]], Message],
        recorder: Recorder | None = None,
    ) -> list[tuple[Sequence[Unit], Reply]] | None:
        """Whole answers for all units, got in the calling thread; None where that fails.

        One reader of this process answers in place; readers of others are asked by blocking, for
        a short while. Not for the loop's thread.
        """
        addresses = self._addresses()
        groups = assignment.groups
        requests = [(addresses[node], request(units)) for node, units in groups.items()]
        hops = None if recorder is None else hops_of(recorder, requests)
        if len(requests) == 1:
            ((address, message),) = requests
            trace = "" if hops is None else hops.traceparent(0)
            reply = self._transport.channel(address).call_now(message, trace)
            if reply is not None:
                self.measures.sub_requests.inc()
                _adopt(hops, [reply])
                return [(units, reply) for units in groups.values()]
        replies = self._transport.ask_now(requests, _PATIENCE_S, hops)
        self.measures.sub_requests.inc(len(requests))
        if replies is None:
            return None
        _adopt(hops, replies)
        return list(zip(groups.values(), replies, strict=True))

    async def ask_once(
        self,
        assignment: Assignment,
        request: Callable[[Sequence[Unit]], Message],
        timeout_s: float,
    ) -> list[Reply]:
        """One answer of each first reader, without fail-over: for what may as well fail.

        Raises:
            MishardsError: that of the first which failed; the others are cancelled.
        """
        addresses = self._addresses()
        tasks: list[asyncio.Future[Reply]] = []
        try:
            for node, units in assignment.groups.items():
                if (address := addresses.get(node)) is None:
                    raise Unavailable(f"reader {node} left between plan and request")
                channel = self._transport.channel(address)
                call = channel.call(request(units), timeout_s=timeout_s)
                tasks.append(asyncio.ensure_future(call))
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _addresses(self) -> dict[NodeId, str]:
        view = self._membership.view
        if self._known_addresses[0] is not view:
            self._known_addresses = (view, {node.id: node.address for node in view.nodes})
        return self._known_addresses[1]

    async def _some_reader(self, deadline_s: float) -> None:
        patience_s = min(deadline_s, self._runtime.monotonic_s() + self._config.no_reader_wait_s)
        if (recorder := current()) is not None:
            recorder.event("no_reader")
        while not self._membership.readers():
            if self._runtime.monotonic_s() >= patience_s:
                raise SegmentUnavailable("no reader is ready; start one or wait for it")
            await self._runtime.sleep(_READER_POLL_S)
            await self._membership.refresh(patience_s - self._runtime.monotonic_s())

    def allows_partial(self, call: SearchCall) -> bool:
        """Whether an answer to `call` may leave out what no reader can serve."""
        asked = call.allow_partial
        return self._config.partial == "partial" if asked is None else asked

    async def read(
        self,
        plan: ReadPlan,
        request: Callable[[Sequence[Unit], Moment], Message],
        moment: Moment,
        deadline_s: float,
        *,
        partial: bool = False,
    ) -> Gathered[R]:
        """Answers for all units of the plan, all of one moment.

        Readers that find the end of the log on storage by themselves may find different ends: all
        are asked again at the latest one, so that no mutation is seen in part.

        Args:
            partial: leave out what no reader can serve, instead of failing.
        """
        gathered: Gathered[R] = await self._read_once(plan, request, moment, deadline_s, partial)
        if moment.from_storage:
            ends = {answer.read_ts for _, answer in gathered.served}
            if len(ends) > 1:
                latest = Moment(max(ends), expired=moment.expired)
                gathered = await self._read_once(plan, request, latest, deadline_s, partial)
        return gathered

    async def _read_once(
        self,
        plan: ReadPlan,
        request: Callable[[Sequence[Unit], Moment], Message],
        moment: Moment,
        deadline_s: float,
        partial: bool,
    ) -> Gathered[R]:
        scatter: Scatter[R] = self._scatter(
            plan.assignment, lambda units: request(units, moment), deadline_s, partial
        )
        return await scatter.run()

    def _scatter(
        self,
        assignment: Assignment,
        request: Callable[[Sequence[Unit]], Message],
        deadline_s: float,
        partial: bool,
    ) -> Scatter[P]:
        return Scatter(
            self._runtime,
            self._transport,
            self._membership,
            self._config,
            self._hedges,
            assignment,
            request,
            deadline_s,
            self.measures,
            partial=partial,
        )

    async def fetch(
        self,
        plan: ReadPlan,
        units: tuple[Unit, ...],
        request: Callable[[Sequence[Unit]], Message],
        deadline_s: float,
        *,
        partial: bool = False,
    ) -> Gathered[Rows]:
        """Rows of `units`, each answer with the units it is for."""
        scatter: Scatter[Rows] = self._scatter(plan.narrowed(units), request, deadline_s, partial)
        return await scatter.run()

    async def catch_up(self, deadline_s: float) -> None:
        """Let newer metadata arrive, after a reader has said that the plan is stale."""
        if self._runtime.monotonic_s() >= deadline_s:
            raise DeadlineExceeded("the read's deadline passed while it was planned anew")
        await self._runtime.sleep(_READER_POLL_S)


def hops_of(recorder: Recorder, requests: Sequence[tuple[str, Message]]) -> Hops:
    """Records calls of readers, each as `search_<address>`, or as what else it is."""
    return Hops(recorder, [span_name(message, address) for address, message in requests])


def _adopt(hops: Hops | None, replies: Sequence[Reply]) -> None:
    if hops is not None:
        for place, reply in enumerate(replies):
            hops.adopt(place, spans_of(reply))


def all_units(view: CollectionView, scope: Scope) -> tuple[Unit, ...]:
    """Everything a read must be answered for."""
    return (*scope.segments, -view.id) if scope.growing else scope.segments


def _rotated(nodes: tuple[NodeId, ...], replicas: int, chance: float) -> tuple[NodeId, ...]:
    """The list with one of the first `replicas` nodes, by chance, in front."""
    if replicas == 1 or len(nodes) < 2:
        return nodes
    first = int(chance * min(replicas, len(nodes)))
    return (nodes[first], *nodes[:first], *nodes[first + 1 :])
