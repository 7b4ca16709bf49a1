"""Which nodes a drill may harm, and whether that would be an outage whatever the cluster does.

Pure decisions over what the registry says.
"""

from __future__ import annotations

from collections.abc import Sequence

from mishards.core.errors import InvalidParameter, NotReady
from mishards.core.ids import LogId
from mishards.discovery.protocol import NodeInfo
from mishards.drill.kinds import Order


def candidates(order: Order, nodes: Sequence[NodeInfo]) -> list[NodeInfo]:
    """The nodes of which one will be harmed: the best of those there are.

    Raises:
        NotReady: there is none.
        InvalidParameter: the node that was named is none of them.
    """
    role = order.kind.role
    ready = [node for node in nodes if node.ready and role in node.roles]
    if role == "writer":
        ready = [node for node in ready if node.leads]
    if not ready:
        raise NotReady(f"no {role} is ready{' and leads' if role == 'writer' else ''}")
    if order.node:
        named = [node for node in ready if node.id == order.node]
        if not named:
            known = ", ".join(sorted(node.id for node in ready))
            raise InvalidParameter(f"no reader {order.node!r} is ready; there are: {known}")
        return named
    harmless = [node for node in ready if not outage(order, node, nodes)]
    return harmless or ready


def outage(order: Order, target: NodeInfo, nodes: Sequence[NodeInfo]) -> str:
    """Why nobody could go on without the target; empty where others can.

    What a node without storage cannot do is write: others serve reads, and itself what it has open.
    """
    if order.everywhere:
        return "no writer has storage meanwhile"
    roles = ("writer",) if order.kind.name == "cut-storage" else target.roles
    alone = [
        role
        for role in roles
        if not any(n.ready and role in n.roles and n.id != target.id for n in nodes)
    ]
    return f"{target.id} is the only {' and the only '.join(alone)}" if alone else ""


def leader(nodes: Sequence[NodeInfo], log: LogId) -> NodeInfo:
    """The node that leads a log.

    Raises:
        NotReady: nobody does.
    """
    leading = [node for node in nodes if node.ready and log in node.leads]
    if not leading:
        raise NotReady(f"nobody leads log {log}")
    return max(leading, key=lambda node: node.reign(log))
