"""What a node says of itself among its metrics: its build, its name, its roles."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version

from mishards.core.ids import NodeId
from mishards.observability.instruments import Reading
from mishards.observability.metrics import BUILD_INFO, NODE_INFO, NODE_READY


def about_node(node: NodeId, roles: Sequence[str], *, ready: bool) -> list[Reading]:
    """Build, name and readiness."""
    return [
        Reading(BUILD_INFO, 1, _build()),
        Reading(NODE_INFO, 1, (node, ",".join(roles))),
        Reading(NODE_READY, ready),
    ]


@cache
def _build() -> tuple[str, str, str]:
    return version("mishards"), platform.python_version(), version("faiss-cpu")
