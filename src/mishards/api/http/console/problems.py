"""What is wrong with the cluster, in the order in which it hurts, and what to do. Pure.

Invariant: every problem says what still works and what an operator can do about it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from mishards.api.http.console.figures import duration, plural
from mishards.api.http.console.nodes import NodeRow, log_rows, node_rows
from mishards.proxy.cluster_state import ClusterState

Level = Literal["broken", "warning"]

UNHEARD_S = 10.0
"""A log of which a proxy has heard nothing for so long is not followed."""
FAR_BEHIND_MS = 10_000
_NAMED = 5


class Problem(msgspec.Struct, frozen=True):
    """Something to look at.

    Attributes:
        what: what is wrong, and what that means for clients.
        todo: what to do.
    """

    level: Level
    what: str
    todo: str


def problems(state: ClusterState) -> list[Problem]:
    """All that is wrong, the worst first."""
    nodes = node_rows(state)
    found = [
        *_leaders(state, nodes),
        *_readers(nodes),
        *_registry(state),
        *_silent(nodes),
        *_not_ready(nodes),
        *_quarantined(state),
        *_lagging(state, nodes),
    ]
    return sorted(found, key=lambda problem: problem.level != "broken")


def _leaders(state: ClusterState, nodes: list[NodeRow]) -> Iterator[Problem]:
    for log in log_rows(state):
        if log.answers:
            continue
        if log.leader:
            what = f"The leader of log {log.id}, {log.leader}, does not answer."
        else:
            what = f"Log {log.id} has no leader."
        if log.standbys:
            todo = f"{plural(log.standbys, 'other writer')} should take over within seconds."
        else:
            todo = "No other writer is ready: start one, or look why the writer ended."
        reasons = sorted({note for node in nodes for note in node.notes})
        if reasons:
            todo += f" Writers say: {'; '.join(reasons[:_NAMED])}."
        yield Problem(
            "broken",
            f"{what} Writes and changes of collections wait and then fail; searches go on.",
            todo,
        )


def _readers(nodes: list[NodeRow]) -> Iterator[Problem]:
    if not any("reader" in node.roles and node.condition in _SERVING for node in nodes):
        yield Problem(
            "broken",
            "No reader serves. Searches and queries fail.",
            "Start a reader: mishards reader --config … Their logs say why one does not serve.",
        )


_SERVING = ("ready", "suspected", "not asked")


def _registry(state: ClusterState) -> Iterator[Problem]:
    if not state.registry_answers:
        yield Problem(
            "warning",
            "The registry of nodes does not answer. Nodes are shown as they were known last; "
            "searches go on, new nodes are not found.",
            "See that what cluster.discovery names runs and can be reached from this node.",
        )


def _silent(nodes: list[NodeRow]) -> Iterator[Problem]:
    silent = [node for node in nodes if node.condition == "no answer"]
    if silent:
        yield Problem(
            "warning",
            f"{_names(silent)} {'does' if len(silent) == 1 else 'do'} not answer. What a reader "
            "served goes to others; of a node that ended, the registry forgets soon.",
            "See whether the process lives and can be reached at its address; start it again.",
        )


def _not_ready(nodes: list[NodeRow]) -> Iterator[Problem]:
    waiting = [node for node in nodes if node.condition == "not ready"]
    if waiting:
        yield Problem(
            "warning",
            f"{_names(waiting)} {'is' if len(waiting) == 1 else 'are'} starting or stopping.",
            "Wait; if it lasts, /readyz of the node and its log say what it waits for.",
        )


def _quarantined(state: ClusterState) -> Iterator[Problem]:
    reasons = {
        segment: reason
        for reply in state.replies.values()
        for segment, reason in reply.quarantined.items()
    }
    if reasons:
        shown = "; ".join(reasons[segment] for segment in sorted(reasons)[:_NAMED])
        yield Problem(
            "broken",
            f"{plural(len(reasons), 'segment is', 'segments are')} damaged: {shown}. Searches "
            "that need them fail, or are partial where that is allowed.",
            "Run mishards check, then restore the files from a backup (docs/operations.md).",
        )


def _lagging(state: ClusterState, nodes: list[NodeRow]) -> Iterator[Problem]:
    for log, ago_s in sorted(state.heard_ago_s.items()):
        if ago_s > UNHEARD_S:
            yield Problem(
                "warning",
                f"This proxy has heard nothing of log {log} for {duration(ago_s)}. "
                "What it shows of rows and segments may be old.",
                "See whether it reaches the leader and the shared storage.",
            )
    late = [node for node in nodes if (node.ms_behind or 0) > FAR_BEHIND_MS]
    if late:
        most_ms = max(node.ms_behind or 0 for node in late)
        yield Problem(
            "warning",
            f"{_names(late)} {'is' if len(late) == 1 else 'are'} behind the log, by up to "
            f"{duration(most_ms / 1000)}. Strong and session reads wait for that.",
            "See that the node has processor time and that storage is fast enough.",
        )


def _names(nodes: list[NodeRow]) -> str:
    shown = ", ".join(node.id for node in nodes[:_NAMED])
    more = len(nodes) - _NAMED
    return shown if more <= 0 else f"{shown} and {more} more"
