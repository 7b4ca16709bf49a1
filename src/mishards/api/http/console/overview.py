"""The cluster at a glance. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

from mishards.api.http.console.collections import Summing, Sums
from mishards.api.http.console.nodes import LogRow, NodeRow, log_rows, node_rows
from mishards.api.http.console.paging import Page, cut
from mishards.api.http.console.problems import Problem, problems
from mishards.proxy.cluster_state import ClusterState

_LOGS = 16


class RoleCount(msgspec.Struct, frozen=True):
    """How many nodes of a role there are, and how many of them serve."""

    role: str
    serving: int
    known: int


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """What the first page shows.

    Attributes:
        verdict: the worst of the problems, or `healthy`.
        proxy: the node that looked.
        growing: rows not sealed yet, as of the reader that has most.
    """

    verdict: Literal["healthy", "warning", "broken"]
    problems: list[Problem]
    proxy: str
    now_ms: int
    version: int
    roles: list[RoleCount]
    collections: int
    sealed: Sums
    growing: int
    logs: list[LogRow]
    more_logs: int
    nodes: Page[NodeRow]


def overview(state: ClusterState, summing: Summing, page: int = 1) -> Overview:
    """The view of a state; `page` of its nodes."""
    nodes = node_rows(state)
    found = problems(state)
    logs = sorted(log_rows(state), key=lambda log: log.answers)
    return Overview(
        verdict=found[0].level if found else "healthy",
        problems=found,
        proxy=state.node,
        now_ms=state.now_ms,
        version=state.snapshot.version,
        roles=[_role(role, nodes) for role in ("proxy", "reader", "writer")],
        collections=len(state.snapshot.collections),
        sealed=summing.total(state.snapshot),
        growing=max((sum(r.growing_rows.values()) for r in state.replies.values()), default=0),
        logs=logs[:_LOGS],
        more_logs=max(0, len(logs) - _LOGS),
        nodes=cut(nodes, page),
    )


def _role(role: str, nodes: list[NodeRow]) -> RoleCount:
    of_role = [node for node in nodes if role in node.roles]
    return RoleCount(role, sum(node.condition == "ready" for node in of_role), len(of_role))
