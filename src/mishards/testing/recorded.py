"""A workload on a real cluster, through pymilvus, whose record the invariants' checker is given.

Invariant: every call that any client made is in the history, however it went.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from pymilvus import DataType, MilvusClient

from mishards.core.ids import CollectionId
from mishards.core.schema import Metric
from mishards.metadata.models import ConsistencyLevel
from mishards.testing.history import (
    GROUP_FIELD,
    KEY_FIELD,
    STAMP_FIELD,
    VECTOR_FIELD,
    Condition,
    Operation,
)
from mishards.testing.invariants import Checker
from mishards.testing.local_cluster import wait_for
from mishards.testing.recorded_client import Record, RecordedClient
from mishards.testing.shape import COLLECTION, DIM
from mishards.testing.violation import Violation
from mishards.testing.witness import Durable

_GRACE_S = 1.0
"""A deadline is gRPC's own: beyond it a busy machine lets a thread wait, and nothing else."""


class Workload(Record):
    """Clients at work on one collection.

    Attributes:
        collection: its id; set by `create`.
    """

    def __init__(
        self,
        uris: Sequence[str],
        seed: int = 1,
        timeout_s: float = 10.0,
        name: str = COLLECTION,
    ) -> None:
        super().__init__(uris, seed, timeout_s, name)
        self.collection = CollectionId(0)
        self._stop = threading.Event()

    def create(self, index: str = "FLAT", replicas: int = 1) -> None:
        """Make and load the collection."""
        client = MilvusClient(self.uris[0], **self.options)
        try:
            schema = client.create_schema()
            schema.add_field(KEY_FIELD, DataType.INT64, is_primary=True)
            schema.add_field(GROUP_FIELD, DataType.INT64)
            schema.add_field(STAMP_FIELD, DataType.INT64)
            schema.add_field(VECTOR_FIELD, DataType.FLOAT_VECTOR, dim=DIM)
            indexes = client.prepare_index_params()
            indexes.add_index(VECTOR_FIELD, index_type=index, metric_type="L2")
            client.create_collection(self.name, schema=schema)
            client.create_index(self.name, indexes)
            client.load_collection(self.name, replica_number=replicas)
            self.collection = CollectionId(client.describe_collection(self.name)["collection_id"])
        finally:
            client.close()

    def client(self, name: str) -> RecordedClient:
        """A client with a chance of its own."""
        return RecordedClient(self, name)

    @contextmanager
    def running(
        self, clients: int = 3, pause_s: float = 0.02, searchers: int = 0
    ) -> Iterator[None]:
        """Clients at work in threads, each pausing for about `pause_s` between calls; so many do
        this and that, and `searchers` only search."""
        self._stop.clear()
        errors: list[BaseException] = []

        def work(client: RecordedClient, call: Callable[[], object]) -> None:
            try:
                while not self._stop.is_set():
                    call()
                    self._stop.wait(client.random.uniform(0, 2 * pause_s))
            except BaseException as error:
                errors.append(error)
            finally:
                client.close()

        made = [self.client(f"client-{n + 1}") for n in range(clients)]
        some = [self.client(f"searcher-{n + 1}") for n in range(searchers)]
        works = [(one, one.some_call) for one in made] + [(one, one.search) for one in some]
        threads = [threading.Thread(target=work, args=pair) for pair in works]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()
        if errors:
            raise errors[0]

    def check(self, log: Sequence[Durable], staleness_s: float = 5.0) -> None:
        """Read everything once more, then hold the whole history to the log.

        Raises:
            AssertionError: an invariant is broken; names all that are, with the calls' record.
        """
        self.read_all()
        broken = self.broken(log, staleness_s)
        if broken:
            lines = [*self.history.lines(), "", f"seed {self.seed}:", *map(str, broken)]
            raise AssertionError("\n".join(lines[-200:]))

    def read_all(self) -> None:
        """Read everything through each proxy, which has to succeed."""
        client = self.client("last")
        try:
            for _ in self.uris:
                everything, strong = Condition(), ConsistencyLevel.STRONG
                client.query_for(everything, strong, must_succeed=True)
                client.query_for(everything, strong, count=True, must_succeed=True)
                client.search_for(everything, strong, 50, must_succeed=True)
        finally:
            client.close()

    def broken(self, log: Sequence[Durable], staleness_s: float) -> list[Violation]:
        """What the history shows to be broken, held to the log."""
        checker = Checker(
            self.history, log, self.collection, Metric.L2, staleness_s, grace_s=_GRACE_S
        )
        return checker.check()

    def note(self, what: str) -> None:
        """Record that something was done to the cluster."""
        self.history.events.append((time.time(), what))

    def go_on(self, more: int = 10, patience_s: float = 30.0) -> None:
        """Wait until so many further writes were acknowledged and so many reads answered."""
        began = len(self.history.operations)

        def enough() -> bool:
            late = [o for o in self.history.operations[began:] if o.outcome == "ok"]
            writes = sum(o.is_write for o in late)
            return writes >= more and len(late) - writes >= more

        wait_for(enough, "writes are acknowledged and reads are answered", patience_s)

    def calls(self, *kinds: str, since_s: float = 0.0) -> list[Operation]:
        """Calls of these kinds that ended, begun at or after a moment."""
        return [
            one
            for one in list(self.history.operations)
            if one.kind in kinds and one.end_s and one.start_s >= since_s
        ]

    def failed(self, *kinds: str, since_s: float = 0.0, answered: bool = False) -> list[str]:
        """Those of them that failed, and were not done by asking again; described. With `answered`
        less those whose connection ended before an answer came."""
        return [
            one.described()
            for one in self.calls(*kinds, since_s=since_s)
            if one.outcome != "ok" and not one.repeated and not (answered and one.unanswered)
        ]

    def longest_gap_s(self, since_s: float, until_s: float) -> float:
        """The longest time between two acknowledged writes in a span of the wall clock."""
        ends = [
            o.end_s
            for o in self.history.operations
            if o.is_write and o.outcome == "ok" and since_s <= o.end_s <= until_s
        ]
        moments = sorted([since_s, *ends, until_s])
        return max(b - a for a, b in itertools.pairwise(moments))
