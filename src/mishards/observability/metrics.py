"""Every metric: its name, kind, labels, buckets, and what it says. Nothing is measured here.

Invariants: names follow Prometheus's conventions (base units in the name, `_total` on what only
rises); labels have few values: a method, a stage, a log, a state, never a segment, a client or a
row. Collections are a label of few metrics, and of at most `MOST_COLLECTIONS` at a time: those
beyond are counted together as `OTHERS`.
"""

from __future__ import annotations

import msgspec

MOST_COLLECTIONS = 200
"""More collections than these are one, `OTHERS`, in metrics that have them as a label."""
OTHERS = "(others)"
COLLECTION = ("database", "collection")


class Declared(msgspec.Struct, frozen=True):
    """A metric that nodes may expose.

    Attributes:
        area: whose it is; the heading that it stands under in the reference page.
        labels: in the order in which values are given.
    """

    name: str
    help: str
    labels: tuple[str, ...] = ()
    area: str = ""


class CounterOf(Declared, frozen=True):
    """Rises only, from 0 at the start of the process."""


class GaugeOf(Declared, frozen=True):
    """Goes up and down."""


class HistogramOf(Declared, frozen=True, kw_only=True):
    """Counts observations by size.

    Attributes:
        buckets: upper bounds, rising; one without a bound follows.
    """

    buckets: tuple[float, ...]


def _counter(area: str, name: str, help: str, *labels: str) -> CounterOf:
    return CounterOf(name, help, labels, area)


def _gauge(area: str, name: str, help: str, *labels: str) -> GaugeOf:
    return GaugeOf(name, help, labels, area)


def _histogram(
    area: str, name: str, help: str, *labels: str, buckets: tuple[float, ...]
) -> HistogramOf:
    return HistogramOf(name, help, labels, area, buckets=buckets)


# A search takes a millisecond, a write a few, a takeover seconds.
_QUICK = (
    0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 10.0,
)  # fmt: skip
_SLOW = (0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
_COUNTS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 1024.0)
_BYTES = (1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0, 16777216.0, 67108864.0)

# --- the node ---------------------------------------------------------------------------------

BUILD_INFO = _gauge(
    "node", "mishards_build_info", "1; what runs, as labels", "version", "python", "faiss"
)
NODE_INFO = _gauge("node", "mishards_node_info", "1; the node's id and roles", "node", "roles")
NODE_READY = _gauge("node", "mishards_node_ready", "1 where the node serves, else 0")
MEMORY = _gauge(
    "node",
    "mishards_memory_bytes",
    "memory by kind: `mapped` files and `anonymous` memory that are resident, as the system "
    "counts them; of the latter, `growing_rows` and the `mask_cache` of the reader, and what the "
    "writer keeps for the next flush as `writer_growing`",
    "kind",
)
LOOP_DELAY = _histogram(
    "node",
    "mishards_loop_delay_seconds",
    "how late the node's loop woke up: what a call waits that is not answered by a thread",
    buckets=_QUICK,
)

# --- calls of clients -------------------------------------------------------------------------

REQUESTS = _counter(
    "calls",
    "mishards_requests_total",
    "calls of the Milvus API that were answered, by Milvus's error code: 0 is success, less than "
    "10, 401, 600, 601, 1000, 1001 and 65535 are faults of the system, all else is the caller's",
    "method",
    "code",
)
REQUESTS_IN_FLIGHT = _gauge(
    "calls", "mishards_requests_in_flight", "calls of the Milvus API that are being answered"
)
REQUEST_SECONDS = _histogram(
    "calls",
    "mishards_request_duration_seconds",
    "time from a call's arrival in the process to its answer",
    "method",
    buckets=_QUICK,
)

# --- searches at the proxy --------------------------------------------------------------------

SEARCHES = _counter(
    "search",
    "mishards_searches_total",
    "searches of clients that were answered: in the receiving `thread` or on the `loop`",
    "path",
)
SEARCH_QUERIES = _counter("search", "mishards_search_queries_total", "query vectors of searches")
SEARCHES_JOINED = _counter(
    "search", "mishards_searches_joined_total", "searches that were made one with another"
)
SEARCH_STAGE_SECONDS = _histogram(
    "search",
    "mishards_search_stage_duration_seconds",
    "time of a search's stages: `get_routing`, `do_search`, `do_merge`, `fetch`",
    "stage",
    buckets=_QUICK,
)
SUB_REQUESTS = _counter(
    "search",
    "mishards_search_subrequests_total",
    "sub-requests that were sent to readers by searches and queries, copies among them",
)
SUB_REQUEST_SECONDS = _histogram(
    "search",
    "mishards_search_subrequest_duration_seconds",
    "time of sub-requests that were answered, of searches on the loop and of queries",
    buckets=_QUICK,
)
RETRIES = _counter(
    "search",
    "mishards_search_retries_total",
    "sub-requests that were sent to another reader since the first failed",
)
HEDGES = _counter(
    "search", "mishards_search_hedges_total", "copies of slow sub-requests sent to another reader"
)
SUSPICIONS = _counter(
    "search", "mishards_reader_suspicions_total", "readers found failing, and avoided for a while"
)
SUSPECTED = _gauge(
    "search", "mishards_readers_suspected", "readers that this proxy avoids at the moment"
)
PARTIAL_ANSWERS = _counter(
    "search", "mishards_partial_answers_total", "answers that leave something out, and say so"
)
STALE_PLANS = _counter(
    "search",
    "mishards_stale_plans_total",
    "reads that were planned anew since readers had moved on from the plan's metadata",
)
PLAN_CACHE_HITS = _counter(
    "search", "mishards_plan_cache_hits_total", "searches whose checked shape was known"
)
PLAN_CACHE_MISSES = _counter(
    "search", "mishards_plan_cache_misses_total", "searches whose shape had to be checked"
)
PLAN_CACHE_ENTRIES = _gauge(
    "search", "mishards_plan_cache_entries", "checked shapes that are known"
)
LEADER_RETRIES = _counter(
    "search",
    "mishards_leader_retries_total",
    "writes and changes of metadata that were asked of a leader again",
)
RECALL = _gauge(
    "search",
    "mishards_recall_ratio",
    "share of true neighbours found, 0 to 1, over the last checked searches",
    *COLLECTION,
)
RECALL_CHECKS = _counter(
    "search",
    "mishards_recall_checks_total",
    "searches that were repeated exactly, by what became of it: `checked`, `skipped`, `failed`",
    "outcome",
)

# --- readers ----------------------------------------------------------------------------------

READER_REQUESTS = _counter(
    "reader",
    "mishards_reader_requests_total",
    "sub-requests that were answered, by Milvus's error code; 0 is success",
    "method",
    "code",
)
READER_STAGE_SECONDS = _histogram(
    "reader",
    "mishards_reader_stage_duration_seconds",
    "time of a sub-request's stages: `wait_for_log` (and metadata), `open` (segments that were "
    "not open), `search` (all segments and growing rows, merged), `query`, `fetch`",
    "stage",
    buckets=_QUICK,
)
READER_SEGMENTS = _gauge(
    "reader",
    "mishards_reader_segments",
    "segments at this reader: `open`, or in `quarantine` since they could not be read",
    "state",
)
READER_OPENED = _counter(
    "reader", "mishards_reader_segments_opened_total", "segments that were opened"
)
READER_GROWING_ROWS = _gauge(
    "reader", "mishards_reader_growing_rows", "rows that are in no segment yet"
)
CACHE_BYTES = _gauge(
    "reader", "mishards_reader_cache_bytes", "copies of segments on the reader's disk"
)
CACHE_LIMIT = _gauge(
    "reader", "mishards_reader_cache_limit_bytes", "most that they may take; 0 is no limit"
)
CACHE_HITS = _counter(
    "reader", "mishards_reader_cache_hits_total", "segments of sub-requests that were open"
)
CACHE_MISSES = _counter(
    "reader", "mishards_reader_cache_misses_total", "segments that had to be opened first"
)
CACHE_EVICTIONS = _counter(
    "reader",
    "mishards_reader_cache_evictions_total",
    "segments, copies or open ones, that had to make room",
)
MASK_CACHE_BYTES = _gauge("reader", "mishards_reader_mask_cache_bytes", "masks of filters held")
MASK_CACHE_LIMIT = _gauge(
    "reader", "mishards_reader_mask_cache_limit_bytes", "most that they may take"
)
MASK_CACHE_HITS = _counter(
    "reader", "mishards_reader_mask_cache_hits_total", "segments whose mask of a filter was held"
)
MASK_CACHE_MISSES = _counter(
    "reader", "mishards_reader_mask_cache_misses_total", "masks that had to be made"
)
MASK_CACHE_EVICTIONS = _counter(
    "reader", "mishards_reader_mask_cache_evictions_total", "masks that had to make room"
)

# --- logs -------------------------------------------------------------------------------------

LOG_ENTRY = _gauge(
    "log",
    "mishards_log_last_entry",
    "number of the last entry: durable at the leader (`writer`), applied at a `reader`, heard of "
    "at a `proxy`",
    "log",
    "role",
)
LOG_TIMESTAMP = _gauge(
    "log",
    "mishards_log_timestamp_seconds",
    "time of the log that this role has come to, as Unix time",
    "log",
    "role",
)
LOG_LAG_SECONDS = _gauge(
    "log",
    "mishards_log_lag_seconds",
    "how far that is behind this machine's clock; it rises while the log has no leader",
    "log",
    "role",
)
LOG_LAG_ENTRIES = _gauge(
    "log",
    "mishards_log_lag_entries",
    "entries that a follower has heard of and not applied",
    "log",
)
LOG_HAS_LEADER = _gauge(
    "log", "mishards_log_has_leader", "1 where this node sees a leader of the log, else 0", "log"
)
LOG_FOLLOWED = _gauge(
    "log",
    "mishards_log_followed",
    "1 where the leader's stream is followed, 0 where entries are read from storage",
    "log",
)

# --- writers ----------------------------------------------------------------------------------

LEADER = _gauge("writer", "mishards_leader", "1 where this writer leads the log, else 0", "log")
EPOCH = _gauge(
    "writer", "mishards_epoch", "number of this writer's reign; 0 where it stands by", "log"
)
REIGNS = _counter("writer", "mishards_reigns_total", "times this writer began to lead", "log")
REIGN_ENDS = _counter(
    "writer",
    "mishards_reign_ends_total",
    "times it ceased to: `handover` (planned), or `lost` for whatever other reason",
    "log",
    "reason",
)
TAKEOVER_SECONDS = _histogram(
    "writer",
    "mishards_takeover_duration_seconds",
    "time from being elected to leading",
    buckets=_SLOW,
)
WRITER_ROWS = _counter(
    "writer",
    "mishards_writer_rows_total",
    "rows written durably: `inserted`, `deleted` (keys; an upsert is both)",
    "operation",
)
WRITER_STAGE_SECONDS = _histogram(
    "writer",
    "mishards_writer_stage_duration_seconds",
    "time of a write's stages: in the `queue`, and its entry's `append` to the log",
    "stage",
    buckets=_QUICK,
)
COMMIT_MUTATIONS = _histogram(
    "writer", "mishards_writer_commit_mutations", "writes that one entry holds", buckets=_COUNTS
)
COMMIT_BYTES = _histogram(
    "writer", "mishards_writer_commit_bytes", "size of an entry", buckets=_BYTES
)
QUEUE_BYTES = _gauge(
    "writer", "mishards_writer_queue_bytes", "writes that wait for their entry", "log"
)
QUEUE_LIMIT = _gauge(
    "writer", "mishards_writer_queue_limit_bytes", "writes beyond this are refused", "log"
)
REFUSALS = _counter(
    "writer",
    "mishards_writer_refusals_total",
    "writes that were refused, by why: `queue` (too much waits), `disk_full`, `invalid`, `other`",
    "reason",
)
WRITER_GROWING_ROWS = _gauge(
    "writer", "mishards_writer_growing_rows", "rows that wait for the next flush", "log"
)
WRITER_GROWING_BYTES = _gauge(
    "writer", "mishards_writer_growing_bytes", "what they take in memory", "log"
)
FLUSHES = _counter(
    "writer", "mishards_writer_flushes_total", "seals of growing rows: `done`, `failed`", "outcome"
)
FLUSH_SECONDS = _histogram(
    "writer", "mishards_writer_flush_duration_seconds", "time of one", buckets=_SLOW
)
FLUSHED_ROWS = _counter("writer", "mishards_writer_flushed_rows_total", "rows sealed")
BUILDS = _counter(
    "writer", "mishards_writer_builds_total", "builds of indexes: `done`, `failed`", "outcome"
)
BUILD_SECONDS = _histogram(
    "writer", "mishards_writer_build_duration_seconds", "time of one", buckets=_SLOW
)
COMPACTIONS = _counter(
    "writer",
    "mishards_writer_compactions_total",
    "merges of segments: `done`, `failed`",
    "outcome",
)
COMPACTION_SECONDS = _histogram(
    "writer", "mishards_writer_compaction_duration_seconds", "time of one", buckets=_SLOW
)
COMPACTED_SEGMENTS = _counter(
    "writer", "mishards_writer_compacted_segments_total", "segments that merges replaced"
)
GARBAGE_OBJECTS = _counter(
    "writer",
    "mishards_writer_garbage_objects_total",
    "objects on storage that no metadata named, removed",
)
TRIMMED_ENTRIES = _counter(
    "writer", "mishards_writer_trimmed_entries_total", "entries of the log that were removed"
)
SEGMENTS = _gauge(
    "writer",
    "mishards_segments",
    "sealed segments of the logs that this writer leads: `indexed`, or `unindexed` where an index "
    "is still to be built",
    "state",
)
ROWS = _gauge(
    "writer",
    "mishards_rows",
    "rows of a collection, at the leader of its log: `sealed`, deleted ones among them, `growing`",
    *COLLECTION,
    "state",
)

# --- storage and metadata ---------------------------------------------------------------------

STORAGE_OPERATIONS = _counter(
    "storage",
    "mishards_storage_operations_total",
    "operations of shared storage: `ok`, `missing`, `exists` (which are answers), `failed`",
    "operation",
    "outcome",
)
STORAGE_SECONDS = _histogram(
    "storage",
    "mishards_storage_operation_duration_seconds",
    "time of operations, whatever their outcome",
    "operation",
    buckets=(*_QUICK, 30.0),
)
STORAGE_READ = _counter(
    "storage", "mishards_storage_read_bytes_total", "bytes read from shared storage"
)
STORAGE_WRITTEN = _counter(
    "storage", "mishards_storage_written_bytes_total", "bytes written to shared storage"
)
DISK_FREE = _gauge(
    "storage",
    "mishards_disk_free_bytes",
    "free space of the file system of a folder: shared `data`, the reader's `cache`",
    "folder",
)
DISK_SIZE = _gauge(
    "storage", "mishards_disk_size_bytes", "size of the file system of a folder", "folder"
)
METADATA_VERSION = _gauge(
    "metadata", "mishards_metadata_version", "version of the metadata that a role has seen", "role"
)
METADATA_UP = _gauge(
    "metadata", "mishards_metadata_up", "1 where the metadata store answered last time, else 0"
)
METADATA_OPERATIONS = _counter(
    "metadata",
    "mishards_metadata_operations_total",
    "operations of the metadata store: `ok`, `refused` (another's commit came first), `failed`",
    "operation",
    "outcome",
)
METADATA_SECONDS = _histogram(
    "metadata",
    "mishards_metadata_operation_duration_seconds",
    "time of operations, a commit's journal among them",
    "operation",
    buckets=_QUICK,
)
COLLECTIONS = _gauge("metadata", "mishards_collections", "collections in all databases")

# --- discovery --------------------------------------------------------------------------------

DISCOVERY_UP = _gauge(
    "discovery", "mishards_discovery_up", "1 where the registry answered last time, else 0"
)
DISCOVERY_NODES = _gauge(
    "discovery",
    "mishards_discovery_nodes",
    "nodes that this one sees, by role and whether they are `ready` (`true`, `false`); a node of "
    "several roles counts for each",
    "role",
    "ready",
)

# --- traces -----------------------------------------------------------------------------------

TRACES_EXPORTED = _counter(
    "traces", "mishards_traces_exported_total", "traces that a receiver took", "exporter"
)
TRACES_DROPPED = _counter(
    "traces",
    "mishards_traces_dropped_total",
    "traces that were to be exported and were not: the queue was full, or the receiver failed",
    "exporter",
)

DECLARED: tuple[Declared, ...] = tuple(
    metric for metric in list(globals().values()) if isinstance(metric, Declared)
)
"""All metrics, in the order of this file."""
