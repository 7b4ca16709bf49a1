"""The invariants of the system, held against a history and what really became durable.

I1 acknowledged writes are never lost and never undone · I2 no phantom row, no key twice in an
answer · I3 no read is older than its level allows · I4 no answer silently misses anything · I5 one
epoch at a time writes · I7 calls end in time · I9 a top-k is that of one node with all rows.
"""

from __future__ import annotations

from collections.abc import Sequence

from mishards.core.ids import CollectionId
from mishards.core.schema import Metric
from mishards.metadata.models import ConsistencyLevel
from mishards.testing.history import Found, History, Key, Operation
from mishards.testing.invariants_answers import Answers
from mishards.testing.invariants_log import written_logs
from mishards.testing.truth import Truth
from mishards.testing.violation import Violation
from mishards.testing.witness import Durable

GRACE_S = 0.1
_FROM_STORAGE = (ConsistencyLevel.STRONG, ConsistencyLevel.BOUNDED)
"""Levels whose reads may see more than they say, when the log's end on storage is read."""


class Checker:
    """Checks one history."""

    def __init__(
        self,
        history: History,
        log: Sequence[Durable],
        collection: CollectionId,
        metric: Metric,
        staleness_s: float,
        *,
        grace_s: float = GRACE_S,
    ) -> None:
        """Hold a history against the log.

        Args:
            staleness_s: how old a state a BOUNDED read may see.
            grace_s: how long after its deadline a call may end.
        """
        self.violations: list[Violation] = []
        self._history = history
        self._log = log
        self._staleness_s = staleness_s
        self._grace_s = grace_s
        self._truth = Truth(log, collection)
        self._answers = Answers(self._truth, metric)
        self._acknowledged = sorted(
            (one.end_s, one.timestamp) for one in history.operations if _has_written(one)
        )

    def check(self) -> list[Violation]:
        """All violations; none when all is well."""
        self.violations += written_logs(self._log)
        for row in self._truth.repeated:
            self._fail("I1", f"the write of {row} was applied twice")
        for operation in self._history.operations:
            self._check_end(operation)
            if operation.is_write:
                self._check_write(operation)
            elif operation.is_read and operation.outcome == "ok":
                self._check_read(operation)
        return self.violations

    def _fail(self, invariant: str, what: str, operation: Operation | None = None) -> None:
        where = "" if operation is None else operation.described()
        self.violations.append(Violation(invariant, what, where))

    # --- calls in general ---------------------------------------------------------------------

    def _check_end(self, operation: Operation) -> None:
        if operation.outcome in ("open", "crashed"):
            self._fail("I7", f"a call ended as {operation.outcome!r}", operation)
        elif operation.must_succeed and operation.outcome != "ok":
            self._fail("healing", "a call failed though all was well", operation)
        late_s = operation.end_s - operation.start_s - operation.timeout_s
        if late_s > self._grace_s and not operation.stood_still:
            self._fail("I7", f"a call ended {late_s:.3f} s after its deadline", operation)

    # --- writes ---------------------------------------------------------------------------------

    def _check_write(self, operation: Operation) -> None:
        """I1: an acknowledged write is in the log as it was made, before its answer."""
        durable_s = self._truth.durable_s
        if operation.outcome == "refused" and any(r.stamp in durable_s for r in operation.rows):
            self._fail("I1", "a refused write was stored", operation)
        if not _has_written(operation):
            return
        applied = self._truth.applied.get(operation.timestamp)
        if applied is None or applied.at_s > operation.end_s:
            self._fail("I1", "acknowledged before it was durable", operation)
            return
        written = tuple((row.key, row.group, row.stamp) for row in applied.rows)
        if written != tuple((row.key, row.group, row.stamp) for row in operation.rows):
            self._fail("I1", f"the log holds other rows: {written}", operation)
        if operation.kind == "delete":
            self._check_deleted(operation, applied.keys)

    def _check_deleted(self, operation: Operation, keys: tuple[Key, ...]) -> None:
        """The keys deleted are those of a strong read."""
        if sorted(map(str, keys)) != sorted(map(str, operation.keys)):
            self._fail("I1", f"the log deletes other keys: {keys}", operation)
        if operation.condition.keys:
            return
        low, high = self._required(operation), operation.timestamp
        deleted = set(keys)
        for key in self._truth.keys:
            options = self._truth.options(key, low, high - 1)
            matching = [o is not None and operation.condition.matches(o) for o in options]
            if all(matching) and key not in deleted:
                self._fail("I4", f"a delete by filter missed key {key!r}", operation)
            if not any(matching) and key in deleted:
                self._fail("I2", f"a delete by filter hit key {key!r}", operation)

    # --- reads ----------------------------------------------------------------------------------

    def _required(self, operation: Operation) -> int:
        """The oldest state that the operation may see."""
        match operation.level:
            case ConsistencyLevel.STRONG:
                return self._acknowledged_by(operation.start_s)
            case ConsistencyLevel.BOUNDED:
                return self._acknowledged_by(operation.start_s - self._staleness_s)
            case ConsistencyLevel.SESSION:
                return operation.guarantee_ts
        return 0

    def _acknowledged_by(self, at_s: float) -> int:
        return max((ts for end_s, ts in self._acknowledged if end_s <= at_s), default=0)

    def _check_read(self, operation: Operation) -> None:
        shown = max(operation.timestamp, operation.checkpoint)
        required = self._required(operation)
        late = [f for f in operation.found if self._is_early(f, operation.end_s)]
        if late:
            self._fail("I2", f"rows that were not durable yet: {late}", operation)
        if shown >= required and not self._answers.differences(operation, shown, shown):
            return
        if operation.says_state and operation.level not in _FROM_STORAGE:
            if shown < required:
                self._fail("I3", f"shows {shown}, {required} is required", operation)
            for invariant, what in self._answers.differences(operation, shown, shown):
                self._fail(invariant, what, operation)
            return
        low = max(shown, required)
        newest = max(low, self._truth.newest(operation.end_s))
        for invariant, what in self._answers.differences(operation, low, newest):
            self._fail(invariant, f"{what} (required {required}, shown {shown})", operation)

    def _is_early(self, found: Found, by_s: float) -> bool:
        return self._truth.durable_s.get(found.stamp, by_s + 1) > by_s


def _has_written(operation: Operation) -> bool:
    """Whether the operation is an acknowledged write that needed an entry of the log."""
    return operation.is_write and operation.outcome == "ok" and operation.count > 0
