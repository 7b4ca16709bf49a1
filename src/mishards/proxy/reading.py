"""What every read of a proxy shares: deadline, moment, plan, scatter."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from mishards.cluster.membership import Membership
from mishards.core.errors import DeadlineExceeded, SegmentUnavailable
from mishards.core.ids import MetadataVersion, NodeId, SegmentId
from mishards.core.runtime import Runtime
from mishards.metadata.snapshot import CollectionView
from mishards.proxy.calls import QueryCall, SearchCall
from mishards.proxy.config import ProxyConfig
from mishards.proxy.consistency import ConsistencyClock, Moment
from mishards.proxy.plan import Router, RouteTable, Scope
from mishards.proxy.scatter import Assignment, HedgeClock, P, Scatter, Served
from mishards.proxy.state import ProxyState
from mishards.routing.protocol import Unit
from mishards.rpc.messages import Message, ReadPoint, Rows
from mishards.rpc.protocol import Channel, Transport

_READER_POLL_S = 0.05


class ReadPlan(msgspec.Struct, frozen=True):
    """A read on one snapshot: its scope and who may serve each unit."""

    view: CollectionView
    version: MetadataVersion
    scope: Scope
    assignment: Assignment
    readers: int

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
        checkpoint=view.meta.checkpoint,
        read_ts=moment.read_ts,
        from_storage=moment.from_storage,
        segments=tuple(SegmentId(unit) for unit in units if unit > 0),
        growing=-view.id in units,
        partitions=scope.partitions,
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
    ) -> None:
        self._runtime = runtime
        self._config = config
        self._transport = transport
        self._membership = membership
        self._router = router
        self._consistency = consistency
        self._hedges = HedgeClock(config)
        self.state = state

    def deadline_s(self, timeout_s: float) -> float:
        """The end of a call that starts now, on the monotonic clock."""
        return self._runtime.monotonic_s() + timeout_s

    def channel(self, address: str) -> Channel:
        return self._transport.channel(address)

    def moment_now(self, call: SearchCall | QueryCall, view: CollectionView) -> Moment | None:
        level = view.meta.consistency if call.consistency is None else call.consistency
        return self._consistency.moment_now(level, call.guarantee_ts)

    async def moment(
        self, call: SearchCall | QueryCall, view: CollectionView, deadline_s: float
    ) -> Moment:
        level = view.meta.consistency if call.consistency is None else call.consistency
        remaining = deadline_s - self._runtime.monotonic_s()
        return await self._consistency.moment(level, call.guarantee_ts, remaining)

    def table(self, view: CollectionView) -> RouteTable:
        """Preference lists of the collection among the readers of this moment."""
        members = self._membership.view
        readers = [node.id for node in self._membership.readers()]
        return self._router.table(view, members.version, readers)

    def local_plan(
        self, view: CollectionView, scope: Scope, version: MetadataVersion
    ) -> tuple[str, Callable[[Moment], ReadPoint]] | None:
        """The only reader's address and how to ask it; None where there are several."""
        readers = self._membership.readers()
        if len(readers) != 1:
            return None
        units = all_units(view, scope)
        return readers[0].address, lambda moment: read_point(view, version, scope, units, moment)

    async def plan(
        self, view: CollectionView, scope: Scope, version: MetadataVersion, deadline_s: float
    ) -> ReadPlan:
        """Who serves what; waits a while for a first reader to appear.

        Raises:
            SegmentUnavailable: there is none.
        """
        units = all_units(view, scope)
        await self._some_reader(deadline_s)
        table = self.table(view)
        replicas = max(1, view.meta.replica_number)
        preferences = {
            unit: _rotated(table.preferences[unit], replicas, self._runtime.random.random())
            for unit in units
        }
        growing = -view.id if scope.growing else None
        assignment = Assignment(preferences, units, growing)
        return ReadPlan(view, version, scope, assignment, len(assignment.group(units, frozenset())))

    async def _some_reader(self, deadline_s: float) -> None:
        patience_s = min(deadline_s, self._runtime.monotonic_s() + self._config.no_reader_wait_s)
        while not self._membership.readers():
            if self._runtime.monotonic_s() >= patience_s:
                raise SegmentUnavailable("no reader is ready; start one or wait for it")
            await self._runtime.sleep(_READER_POLL_S)
            await self._membership.refresh()

    async def scatter(
        self, plan: ReadPlan, request: Callable[[Sequence[Unit]], Message], deadline_s: float
    ) -> list[P]:
        """The partials that answer for all units of the plan."""
        scatter: Scatter[P] = self._scatter(plan.assignment, request, deadline_s)
        return [partial for _, partial in await scatter.run()]

    def _scatter(
        self,
        assignment: Assignment,
        request: Callable[[Sequence[Unit]], Message],
        deadline_s: float,
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
        )

    async def fetch(
        self,
        plan: ReadPlan,
        units: tuple[Unit, ...],
        request: Callable[[Sequence[Unit]], Message],
        deadline_s: float,
    ) -> Served[Rows]:
        """Rows of `units`, each answer with the units it is for."""
        assignment = Assignment(plan.assignment.preferences, units, plan.assignment.growing)
        scatter: Scatter[Rows] = self._scatter(assignment, request, deadline_s)
        return await scatter.run()

    async def catch_up(self, deadline_s: float) -> None:
        """Let newer metadata arrive, after a reader has said that the plan is stale."""
        if self._runtime.monotonic_s() >= deadline_s:
            raise DeadlineExceeded("the read's deadline passed while it was planned anew")
        await self._runtime.sleep(_READER_POLL_S)


def all_units(view: CollectionView, scope: Scope) -> tuple[Unit, ...]:
    """Everything a read must be answered for."""
    return (*scope.segments, -view.id) if scope.growing else scope.segments


def _rotated(nodes: tuple[NodeId, ...], replicas: int, chance: float) -> tuple[NodeId, ...]:
    """The list with one of the first `replicas` nodes, by chance, in front."""
    if replicas == 1 or len(nodes) < 2:
        return nodes
    first = int(chance * min(replicas, len(nodes)))
    return (nodes[first], *nodes[:first], *nodes[first + 1 :])
