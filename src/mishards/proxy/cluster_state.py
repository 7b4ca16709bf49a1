"""The cluster as a proxy sees it, for whoever shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from mishards.core.ids import LogId, NodeId
from mishards.discovery.protocol import NodeInfo
from mishards.metadata.snapshot import CollectionView, MetadataSnapshot
from mishards.routing.protocol import Unit
from mishards.rpc.messages import StatusReply


class ClusterState(msgspec.Struct, frozen=True, kw_only=True):
    """The cluster as one proxy sees it at one moment.

    Attributes:
        node: the proxy that looked.
        now_ms: Unix time of the look.
        nodes: as the registry has them, by id.
        suspects: nodes that failed calls of this proxy a short while ago.
        registry_answers: whether the registry did when it was last asked.
        replies: what nodes say of themselves.
        silent: nodes that were asked and did not answer; any others were not asked in time.
        heard_ago_s: how long ago this proxy heard of each log.
    """

    node: NodeId
    now_ms: int
    snapshot: MetadataSnapshot
    nodes: tuple[NodeInfo, ...] = ()
    suspects: frozenset[NodeId] = frozenset()
    registry_answers: bool = True
    replies: Mapping[NodeId, StatusReply] = {}
    silent: frozenset[NodeId] = frozenset()
    heard_ago_s: Mapping[LogId, float] = {}


class Look(Protocol):
    """Looks at the cluster. From the loop's thread, but for `preferences`: any thread."""

    @property
    def node(self) -> NodeId:
        """The proxy that looks."""

    async def state(self) -> ClusterState:
        """The cluster as it is, or was up to a second ago; within a few seconds, whoever does not
        answer."""

    def preferences(self, view: CollectionView) -> Mapping[Unit, tuple[NodeId, ...]]:
        """Which readers are to serve each unit of a collection, the first first; empty where the
        collection is too large to be planned for a mere look."""
