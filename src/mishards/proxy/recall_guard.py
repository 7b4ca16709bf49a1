"""The recall guard: a small share of searches is repeated exactly, and what they had found counted.

Invariants: a client's call never waits for it: a search leaves what a check needs in the one place
there is for that, and goes on; a check is made at the same moment and on the same metadata as its
search, or not at all; it is asked of readers once, and may be refused.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from mishards.core.errors import MishardsError, StalePlan, TooManyRequests
from mishards.core.ids import CollectionId
from mishards.core.limits import MAX_QUERY_WINDOW
from mishards.core.runtime import Runtime
from mishards.observability import instruments, metrics
from mishards.proxy.calls import SearchCall
from mishards.proxy.config import RecallConfig
from mishards.proxy.consistency import Moment
from mishards.proxy.merge import Hits, merge_hits
from mishards.proxy.prepare import PreparedSearch
from mishards.proxy.reading import Reading, ReadPlan
from mishards.proxy.recall import exact_k, first_queries, recalls
from mishards.routing.protocol import Unit
from mishards.rpc.messages import RecallSeen, Search, SearchPartial

CHECKED, SKIPPED, FAILED = "checked", "skipped", "failed"
_MOST_QUERIES = 4
"""Of a search with more, so many are repeated."""
_LOOK_S = 0.05
_TIMEOUT_S = 20.0
"""Less than readers keep what older metadata names."""


class Check(NamedTuple):
    """A search that was answered, and what it found."""

    message: Search
    prepared: PreparedSearch
    plan: ReadPlan
    moment: Moment
    found: Hits


class RecallGuard:
    """That of one proxy. `due` and `offer`: any thread; the rest: the loop's."""

    def __init__(self, runtime: Runtime, config: RecallConfig, reading: Reading) -> None:
        self._runtime = runtime
        self._config = config
        self._reading = reading
        self._open = False
        self._left = 0
        self._offered: Check | None = None
        self._seen: dict[CollectionId, deque[float]] = {}
        self.outcomes: Counter[str] = Counter()
        """How many searches were `checked`; `skipped` as readers were busy or metadata had moved
        on; `failed` for another reason."""

    def due(self) -> bool:
        """Whether the search that was just answered is one of the share."""
        if not self._open:
            return False
        self._left -= 1
        if self._left > 0:
            return False
        self._left = self._next()
        return True

    def offer(
        self,
        call: SearchCall,
        prepared: PreparedSearch,
        plan: ReadPlan,
        moment: Moment,
        found: Hits,
    ) -> None:
        """Have a search checked, whole and without an offset as it has to be."""
        if call.offset or moment.from_storage:
            return
        nq = min(call.nq, _MOST_QUERIES)
        message = Search(
            at=plan.point((), moment),
            field=prepared.field.name,
            queries=bytes(call.queries[: 4 * prepared.field.dim * nq]),
            nq=nq,
            k=exact_k(prepared.k, MAX_QUERY_WINDOW),
            filter=call.filter,
            templates=call.templates,
            exact=True,
        )
        self._open = False
        self._offered = Check(message, prepared, plan, moment, first_queries(found, nq))

    async def run(self) -> None:
        """Check what is offered; for ever."""
        self._left = self._next()
        while True:
            self._offered = None
            self._open = True
            while (check := self._offered) is None:
                await self._runtime.sleep(_LOOK_S)
            self.outcomes[await self._check(check)] += 1
            await self._runtime.sleep(60.0 / self._config.per_minute)

    def seen(self) -> dict[CollectionId, RecallSeen]:
        """Per collection what the last checks found."""
        alive = self._reading.state.snapshot.collections
        for gone in self._seen.keys() - alive.keys():
            del self._seen[gone]
        return {
            collection: RecallSeen(ratio=sum(last) / len(last), queries=len(last))
            for collection, last in self._seen.items()
        }

    def readings(self) -> Iterator[instruments.Reading]:
        """What there is to measure."""
        snapshot = self._reading.state.snapshot
        databases = {database.id: database.name for database in snapshot.databases.values()}
        for collection, seen in self.seen().items():
            meta = snapshot.collections[collection].meta
            named = (databases.get(meta.database_id, ""), meta.name)
            yield instruments.Reading(metrics.RECALL, seen.ratio, named)
        for outcome, count in self.outcomes.items():
            yield instruments.Reading(metrics.RECALL_CHECKS, count, (outcome,))

    def _next(self) -> int:
        """After how many searches the next one is due: on average as the share says, and in no
        step with what clients repeat."""
        return 1 + int(self._runtime.random.random() * (2 / self._config.share - 1))

    async def _check(self, check: Check) -> str:
        reading, view = self._reading, check.plan.view
        with reading.in_use.held():
            if reading.state.snapshot.collections.get(view.id) is not view:
                return SKIPPED
            try:
                exact = await self._exact(check)
            except (TooManyRequests, StalePlan):
                return SKIPPED
            except MishardsError:
                return FAILED
        if exact is None:
            return FAILED
        prepared = check.prepared
        found = recalls(
            check.found, exact, prepared.k, smaller_is_closer=prepared.metric.smaller_is_closer
        )
        if found:
            last = self._seen.setdefault(view.id, deque(maxlen=self._config.window))
            last.extend(found)
        return CHECKED

    async def _exact(self, check: Check) -> Hits | None:
        """The exact hits; None where a reader could not serve all of its units."""

        def request(units: Sequence[Unit]) -> Search:
            at = check.plan.point(units, check.moment)
            return msgspec.structs.replace(check.message, at=at)

        answers = await self._reading.ask_once(check.plan.assignment, request, _TIMEOUT_S)
        partials = [answer for answer in answers if isinstance(answer, SearchPartial)]
        if len(partials) < len(answers) or any(partial.failures for partial in partials):
            return None
        message = check.message
        return merge_hits(
            partials,
            message.nq,
            message.k,
            smaller_is_closer=check.prepared.metric.smaller_is_closer,
        )
