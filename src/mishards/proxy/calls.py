"""What an edge asks of a proxy and what it gets back: no protobuf, no wire.

Calls are frozen; arrays in answers are owned by the receiver.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
import numpy as np
import pyarrow as pa

from mishards.core.ids import CollectionId, MetadataVersion, SegmentId, Timestamp
from mishards.core.schema import Metric
from mishards.metadata.models import ConsistencyLevel
from mishards.metadata.snapshot import CollectionView, MetadataSnapshot
from mishards.observability.spans import Trace
from mishards.proxy.cluster_state import Look
from mishards.rpc.messages import CompactionStatus, Ddl, StatusReply

DEFAULT_TIMEOUT_S = 60.0


class _Call(msgspec.Struct, frozen=True, kw_only=True):
    database: str
    collection: str
    timeout_s: float = DEFAULT_TIMEOUT_S


class _Read(_Call, frozen=True, kw_only=True):
    """A read. `consistency` None means the collection's own level.

    Attributes:
        guarantee_ts: the client's last write for SESSION, its own choice for CUSTOMIZED.
        output: field names as the client wrote them: `*`, dynamic keys and JSON paths included.
    """

    partitions: tuple[str, ...] = ()
    filter: str = ""
    templates: dict[str, Any] = {}
    output: tuple[str, ...] = ()
    consistency: ConsistencyLevel | None = None
    guarantee_ts: int = 0
    ignore_growing: bool = False


class SearchCall(_Read, frozen=True, kw_only=True):
    """TopK.

    Attributes:
        field: vector field; empty where the collection has only one.
        queries: raw float32, nq × dim.
        metric: what the client named; empty for the index's. Another one is an error.
        params: search parameters (`ef`, `nprobe`, …) as the client gave them.
        shape: equal for calls that are equal but for their vectors, as far as the edge knows;
            empty where it does not say.
        allow_partial: whether what no reader can serve may be left out; None for what the proxy
            is set to.
        explain: the answer is to say what was done and why.
    """

    field: str = ""
    queries: bytes | memoryview
    nq: int
    limit: int
    offset: int = 0
    metric: str = ""
    params: dict[str, Any] = {}
    shape: bytes = b""
    allow_partial: bool | None = None
    explain: bool = False


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """How much of what it should have seen an answer saw.

    Attributes:
        rows: in the sealed segments of the read.
        searched_rows: in those of them that were searched.
        growing: whether growing rows were searched, where they should have been.
        missing: what was not searched, and why.
    """

    segments: int
    searched_segments: int
    rows: int
    searched_rows: int
    growing: bool
    missing: tuple[str, ...]

    @property
    def share(self) -> float:
        """Of the sealed rows, from 0 to 1."""
        return self.searched_rows / self.rows if self.rows else 1.0


class SearchAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Hits of all queries in a row, best first.

    Attributes:
        counts: hits per query, int32, shape (nq,).
        keys: primary keys: int64 array or a list of text.
        distances: float32, one per hit.
        columns: one row per hit, named by output field; None when none were asked for. Dynamic
            fields stand in the column `$meta` as JSON text, whole or cut to the keys asked for.
        output: names to answer with, the dynamic keys among them.
        coverage: what a partial answer covers; None for a complete one.
    """

    view: CollectionView
    metric: Metric
    counts: np.ndarray[Any, np.dtype[np.int32]]
    keys: np.ndarray[Any, np.dtype[np.int64]] | list[str]
    distances: np.ndarray[Any, np.dtype[np.float32]]
    columns: pa.RecordBatch | None
    output: tuple[str, ...]
    read_ts: Timestamp
    coverage: Coverage | None = None


class QueryCall(_Read, frozen=True, kw_only=True):
    """Rows by filter; `output == ("count(*)",)` asks for their number. `limit` 0 means none.

    Attributes:
        allow_partial: whether what no reader can serve may be left out.
        as_of: see what was there at this moment and nothing newer, whatever the level says; rows
            sealed since then come as they are now. 0 for none.
    """

    limit: int = 0
    offset: int = 0
    as_of: int = 0
    allow_partial: bool = False


class QueryAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Rows by primary key, or `count` alone. All else as in `SearchAnswer`."""

    view: CollectionView
    columns: pa.RecordBatch | None
    count: int | None
    output: tuple[str, ...]
    read_ts: Timestamp
    coverage: Coverage | None = None


class InsertCall(_Call, frozen=True, kw_only=True):
    """`batch` as `core.columns` says, checked by `proxy.rows.check_rows`; for an upsert into a
    collection with auto ids, `keys` are the primary keys to replace."""

    partition: str = ""
    batch: pa.RecordBatch
    keys: pa.Array | None = None


class DeleteCall(_Call, frozen=True, kw_only=True):
    partition: str = ""
    filter: str
    templates: dict[str, Any] = {}
    consistency: ConsistencyLevel | None = None


class WriteAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """`keys`: of the rows written, or of the rows deleted."""

    timestamp: Timestamp
    keys: pa.Array
    count: int


class FlushAnswer(msgspec.Struct, frozen=True, kw_only=True):
    segments: dict[CollectionId, tuple[SegmentId, ...]]
    timestamp: Timestamp


class ReplicaInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One replica of a loaded collection: which reader is first for which segments."""

    id: int
    nodes: tuple[str, ...]
    segments: dict[str, tuple[SegmentId, ...]]


class ProxyApi(Protocol):
    """What edges call. Coroutines: from the loop's thread. `search_now`, `snapshot`: any thread.

    Every call raises `MishardsError`s only; see `core.errors`.
    """

    @property
    def snapshot(self) -> MetadataSnapshot:
        """The newest metadata this proxy has seen."""

    @property
    def look(self) -> Look:
        """A way to see how the cluster is."""

    def search_now(self, call: SearchCall) -> SearchAnswer | None:
        """The answer where all it needs is in this process and up to date, else None."""

    async def search(self, call: SearchCall) -> SearchAnswer: ...

    async def query(self, call: QueryCall) -> QueryAnswer: ...

    async def insert(self, call: InsertCall) -> WriteAnswer: ...

    async def upsert(self, call: InsertCall) -> WriteAnswer: ...

    async def delete(self, call: DeleteCall) -> WriteAnswer: ...

    async def ddl(self, message: Ddl) -> MetadataVersion:
        """Done, and visible in `snapshot`, when it returns."""

    async def flush(self, database: str, collections: Sequence[str]) -> FlushAnswer: ...

    async def compact(
        self, view: CollectionView, *, deletes_only: bool = False, target_bytes: int = 0
    ) -> Timestamp:
        """Have a collection compacted; the id by which to ask how that goes.

        Args:
            target_bytes: most bytes of a segment; 0 for the writer's own limit.
        """

    async def compaction(self, compaction_id: Timestamp) -> CompactionStatus:
        """How a compaction goes; one that nobody knows is over and did nothing."""

    async def allocate_timestamp(self) -> Timestamp: ...

    async def row_count(self, view: CollectionView, partitions: Sequence[str] = ()) -> int:
        """Rows stored, sealed and growing, less the deleted ones."""

    async def loading_progress(self, view: CollectionView, partitions: Sequence[str] = ()) -> int:
        """Per cent of the loaded partitions' segments that readers have open."""

    def replicas(self, view: CollectionView) -> list[ReplicaInfo]: ...

    async def slow_traces(self, most: int = 100) -> list[Trace]:
        """The slow and failed requests that all proxies remember, newest first; those of a proxy
        that does not answer are missing."""

    async def cluster_status(self) -> list[StatusReply]:
        """Every node's own word; a node that does not answer is missing."""
