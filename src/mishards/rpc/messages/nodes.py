"""Leadership, and how a node is."""

from __future__ import annotations

import msgspec

from mishards.core.ids import (
    CollectionId,
    EntrySeq,
    LogId,
    MetadataVersion,
    NodeId,
    SegmentId,
    Timestamp,
)
from mishards.discovery.protocol import NodeInfo
from mishards.observability.spans import Trace
from mishards.rpc.messages.form import Form


class Attend(Form, frozen=True, kw_only=True, tag="attend"):
    """Stay with the leader of a log: a stream of its status, once, that ends with its reign."""

    log: LogId


class PrepareTakeover(Form, frozen=True, kw_only=True, tag="prepare_takeover"):
    """Ask a standby to read the log to its end; answers with its status."""

    log: LogId


class TakeOver(Form, frozen=True, kw_only=True, tag="take_over"):
    """Tell a standby that the lease was left to it; answers with its status when it leads."""

    log: LogId


class HandOver(Form, frozen=True, kw_only=True, tag="hand_over"):
    """Ask the leader to let a standby lead: `to`, or, where that is empty, any."""

    log: LogId
    to: NodeId = NodeId("")


class HandedOver(Form, frozen=True, kw_only=True, tag="handed_over"):
    """Another node leads; writes had to wait for `paused_ms`."""

    leader: NodeId
    paused_ms: float


class Introduce(Form, frozen=True, kw_only=True, tag="introduce"):
    """Ask any node who it is, whether it is ready, and what it leads."""


class Introduction(Form, frozen=True, kw_only=True, tag="introduction"):
    """What the node would say of itself in a registry."""

    node: NodeInfo


class SlowTraces(Form, frozen=True, kw_only=True, tag="slow_traces"):
    """Ask a proxy for the slow and failed requests that it remembers, the newest `most`."""

    most: int = 100


class Traces(Form, frozen=True, kw_only=True, tag="traces"):
    """Requests as they were recorded, newest first."""

    traces: tuple[Trace, ...]


class NodeStatus(Form, frozen=True, kw_only=True, tag="node_status"):
    """Ask any node how it is."""


class RecallSeen(msgspec.Struct, frozen=True, kw_only=True):
    """What the recall guard of a proxy saw of a collection lately.

    Attributes:
        ratio: mean share of the true neighbours that searches found, 0 to 1.
        queries: of how many queries that is the mean.
    """

    ratio: float
    queries: int


class StatusReply(Form, frozen=True, kw_only=True, tag="status_reply"):
    """What a node knows of itself.

    Attributes:
        oldest_version: what metadata of this and later versions does not name, the node no longer
            reads; None where it reads nothing that metadata names.
        segments: what is searched in each open segment.
        quarantined: segments that were found damaged, and how.
        recall: of collections whose searches were checked lately.
    """

    node: str
    roles: tuple[str, ...]
    version: MetadataVersion
    applied_seq: dict[LogId, EntrySeq] = msgspec.field(default_factory=dict)
    applied_ts: dict[LogId, Timestamp] = msgspec.field(default_factory=dict)
    oldest_version: MetadataVersion | None = None
    epoch: dict[LogId, int] = msgspec.field(default_factory=dict)
    segments: dict[SegmentId, str] = msgspec.field(default_factory=dict)
    growing_rows: dict[CollectionId, int] = msgspec.field(default_factory=dict)
    details: dict[str, str] = msgspec.field(default_factory=dict)
    quarantined: dict[SegmentId, str] = msgspec.field(default_factory=dict)
    recall: dict[CollectionId, RecallSeen] = msgspec.field(default_factory=dict)
