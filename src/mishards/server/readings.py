"""What a node tells of the cluster as it sees it when its metrics are looked at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from mishards.cluster.membership import Membership
from mishards.core.ids import LogId
from mishards.observability.instruments import Reading
from mishards.observability.metrics import DISCOVERY_NODES, DISCOVERY_UP, LOG_HAS_LEADER


def membership_readings(membership: Membership, logs: Sequence[LogId]) -> Iterator[Reading]:
    """Who is there, and who leads these logs."""
    view = membership.view
    yield Reading(DISCOVERY_UP, membership.reachable)
    nodes = Counter((role, node.ready) for node in view.nodes for role in node.roles)
    for role in sorted({role for role, _ in nodes} | {"proxy", "reader", "writer"}):
        for ready in (True, False):
            yield Reading(DISCOVERY_NODES, nodes[role, ready], (role, str(ready).lower()))
    for log_id in logs:
        yield Reading(LOG_HAS_LEADER, view.leader(log_id) is not None, (str(log_id),))
