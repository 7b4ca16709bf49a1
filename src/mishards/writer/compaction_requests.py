"""Compactions that clients asked for, and how they go.

Invariants: a request is executing until all its plans have come to an end, good or bad; ids are
timestamps of the leader. They are remembered for one reign, the newest thousand of them; of any
other id is said, as Milvus does, that it is completed and has no plans.
"""

from __future__ import annotations

from collections import deque

import msgspec

from mishards.core.ids import CollectionId, SegmentId, Timestamp
from mishards.rpc.messages import CompactionPlan, CompactionStatus
from mishards.writer.compaction_policy import Compaction

_MOST_REMEMBERED = 1000


class PlanState(msgspec.Struct):
    """A plan of a request; `outputs` once it is done, None and `failed` where that failed."""

    compaction: Compaction
    outputs: tuple[SegmentId, ...] | None = None
    failed: bool = False


class CompactionRequest(msgspec.Struct, kw_only=True):
    """What a client asked for.

    Attributes:
        deletes_only: only segments with deleted rows are to be rewritten.
        target_bytes: most bytes of a segment; 0 for the writer's own limit.
    """

    id: Timestamp
    collection: CollectionId
    deletes_only: bool = False
    target_bytes: int = 0
    plans: list[PlanState] = []
    is_done: bool = False


class CompactionRequests:
    """From the loop's thread."""

    def __init__(self) -> None:
        self._all: dict[Timestamp, CompactionRequest] = {}
        self._waiting: deque[CompactionRequest] = deque()

    def add(self, request: CompactionRequest) -> None:
        """Take a request; it waits for `take`."""
        self._waiting.append(request)
        self._all[request.id] = request
        while len(self._all) > _MOST_REMEMBERED:
            del self._all[next(iter(self._all))]

    def take(self) -> CompactionRequest | None:
        """The one that waits longest."""
        return self._waiting.popleft() if self._waiting else None

    def status(self, request_id: Timestamp) -> CompactionStatus:
        """How a request goes."""
        request = self._all.get(request_id)
        if request is None:
            return CompactionStatus(executing=False)
        plans = [
            CompactionPlan(sources=plan.compaction.inputs, targets=plan.outputs or ())
            for plan in request.plans
        ]
        failed = sum(plan.failed for plan in request.plans)
        completed = sum(plan.outputs is not None for plan in request.plans)
        return CompactionStatus(
            executing=not request.is_done,
            collection=request.collection,
            completed_plans=completed,
            failed_plans=failed,
            executing_plans=0 if request.is_done else len(plans) - failed - completed,
            plans=tuple(plans),
        )
