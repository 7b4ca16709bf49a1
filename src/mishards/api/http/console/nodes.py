"""The nodes and logs of the cluster, as they are shown. Pure."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from mishards.core.ids import LogId, NodeId, Timestamp
from mishards.core.timestamps import physical_ms
from mishards.discovery.protocol import NodeInfo
from mishards.proxy.cluster_state import ClusterState
from mishards.rpc.messages import StatusReply

NodeCondition = Literal["ready", "not ready", "no answer", "not asked", "suspected"]
_NUMBER = re.compile(r"([0-9]{1,18})")
ORDER: tuple[NodeCondition, ...] = ("no answer", "suspected", "not ready", "not asked", "ready")
"""What needs a look comes first."""


class NodeRow(msgspec.Struct, frozen=True, kw_only=True):
    """A node.

    Attributes:
        leads: ids of the logs that it leads.
        entries_behind: how far it is behind the end of the log that it is furthest behind with;
            None where it follows none, or does not answer.
        ms_behind: likewise, between what has been applied there and elsewhere.
        versions_behind: of metadata, behind the newest that any node has.
        notes: what it says of itself, such as why it cannot lead.
    """

    id: str
    roles: tuple[str, ...]
    condition: NodeCondition
    leads: tuple[int, ...]
    address: str
    edge: str
    http: str
    host: str
    pid: int
    entries_behind: int | None = None
    ms_behind: int | None = None
    versions_behind: int | None = None
    segments: int = 0
    quarantined: int = 0
    growing_rows: int = 0
    notes: tuple[str, ...] = ()


class LogRow(msgspec.Struct, frozen=True, kw_only=True):
    """A log.

    Attributes:
        leader: empty where nobody leads it.
        answers: whether the leader answered.
        end: the newest entry that any node has.
        standbys: other writers that are ready.
        most_behind: the follower that is furthest behind, and by how many entries.
        heard_ago_s: how long ago this proxy heard of it; None where it never did.
    """

    id: int
    leader: str
    answers: bool
    epoch: int
    end: int
    standbys: int
    most_behind: str = ""
    entries_behind: int = 0
    heard_ago_s: float | None = None


def in_order(name: str) -> list[str | int]:
    """Sorts names as people do: `reader-2` before `reader-10`."""
    return [int(part) if at % 2 else part for at, part in enumerate(_NUMBER.split(name))]


def condition(node: NodeInfo, state: ClusterState) -> NodeCondition:
    """How a node is, in a word."""
    if node.id in state.silent:
        return "no answer"
    if not node.ready:
        return "not ready"
    if node.id not in state.replies:
        return "not asked"
    return "suspected" if node.id in state.suspects else "ready"


def log_ends(state: ClusterState) -> dict[LogId, int]:
    """The newest entry of each log that any node has."""
    ends: dict[LogId, int] = {}
    for reply in state.replies.values():
        for log, seq in reply.applied_seq.items():
            ends[log] = max(seq, ends.get(log, 0))
    return ends


def node_rows(state: ClusterState) -> list[NodeRow]:
    """All nodes, those that need a look first."""
    ends = log_ends(state)
    newest: dict[LogId, Timestamp] = {}
    for reply in state.replies.values():
        for log, timestamp in reply.applied_ts.items():
            newest[log] = max(timestamp, newest.get(log, timestamp))
    version = max(
        (state.snapshot.version, *(reply.version for reply in state.replies.values())), default=0
    )
    rows = []
    for node in state.nodes:
        row = NodeRow(
            id=node.id,
            roles=node.roles,
            condition=condition(node, state),
            leads=node.leads,
            address=node.address,
            edge=node.edge,
            http=node.http,
            host=node.host,
            pid=node.pid,
        )
        said = state.replies.get(node.id)
        if said is not None:
            row = msgspec.structs.replace(row, **_said(said, ends, newest, version))
        rows.append(row)
    return sorted(rows, key=lambda row: (ORDER.index(row.condition), in_order(row.id)))


def _said(
    reply: StatusReply, ends: dict[LogId, int], newest: dict[LogId, Timestamp], version: int
) -> dict[str, object]:
    return {
        "entries_behind": max(
            (ends[log] - seq for log, seq in reply.applied_seq.items()), default=None
        ),
        "ms_behind": max(
            (
                physical_ms(newest[log]) - physical_ms(timestamp)
                for log, timestamp in reply.applied_ts.items()
                if timestamp
            ),
            default=None,
        ),
        "versions_behind": version - reply.version,
        "segments": len(reply.segments),
        "quarantined": len(reply.quarantined),
        "growing_rows": sum(reply.growing_rows.values()),
        "notes": tuple(
            f"{key}: {said}" for key, said in sorted(reply.details.items()) if said != "led"
        ),
    }


def log_rows(state: ClusterState) -> list[LogRow]:
    """All logs, by number."""
    ends = log_ends(state)
    return [_log_row(state, log, ends.get(log, 0)) for log in sorted(state.snapshot.logs)]


def _log_row(state: ClusterState, log: LogId, end: int) -> LogRow:
    leading = [node for node in state.nodes if log in node.leads]
    leader = max(
        leading,
        key=lambda node: (node.id not in state.silent, node.reign(log)),
        default=None,
    )
    lag, most_behind = _most_behind(state, log, end)
    name = NodeId("") if leader is None else leader.id
    return LogRow(
        id=log,
        leader=name,
        answers=leader is not None and leader.id not in state.silent,
        epoch=max(state.snapshot.logs[log].epoch, 0 if leader is None else leader.reign(log)),
        end=end,
        standbys=sum(
            "writer" in node.roles and node.ready and node.id not in {name, *state.silent}
            for node in state.nodes
        ),
        most_behind=most_behind if lag else "",
        entries_behind=lag,
        heard_ago_s=state.heard_ago_s.get(log),
    )


def _most_behind(state: ClusterState, log: LogId, end: int) -> tuple[int, str]:
    return max(
        (
            (end - reply.applied_seq[log], node)
            for node, reply in state.replies.items()
            if log in reply.applied_seq
        ),
        default=(0, ""),
    )
