"""A fixed list of nodes, for clusters whose members never change.

A node is written `role@address` or `id=role@address`, several roles joined by `+`, for example
`r1=reader@tcp://10.0.0.5:19540`; without an id the address is the id. Invariants: every node is
listed as live, and has to be asked whether it is; a sole writer leads log 0, of several the list
does not say which does.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from mishards.core.errors import ConfigError
from mishards.core.ids import NodeId
from mishards.core.runtime import Runtime
from mishards.discovery.protocol import NodeInfo

ROLES = ("proxy", "writer", "reader")
_SCHEMES = ("tcp://", "unix://", "mem://")


class StaticRegistry:
    """A `Registry` that knows what it was told."""

    is_list = True

    def __init__(self, nodes: Sequence[str]) -> None:
        """Raises `ConfigError` when the list cannot be used; names the entry."""
        self._nodes = parse_nodes(nodes)

    async def announce(self, node: NodeInfo) -> None:
        """The list is fixed: nothing changes."""

    async def withdraw(self, node_id: NodeId) -> None:
        """The list is fixed: nothing changes."""

    async def nodes(self) -> tuple[NodeInfo, ...]:
        return self._nodes

    async def close(self) -> None:
        """Nothing is held."""


def parse_nodes(texts: Sequence[str]) -> tuple[NodeInfo, ...]:
    """The nodes of a list, by id.

    Raises:
        ConfigError: an entry is none, or one contradicts another; names it.
    """
    found = sorted(parse_node(text) for text in texts)
    for what in ("id", "address"):
        values = [getattr(node, what) for node in found]
        twice = {value for value in values if values.count(value) > 1}
        if twice:
            raise ConfigError(f"the listed nodes name the {what} {min(twice)!r} twice")
    writers = [node for node in found if "writer" in node.roles]
    sole = writers[0].id if len(writers) == 1 else None
    return tuple(
        msgspec.structs.replace(node, leads=(0,)) if node.id == sole else node for node in found
    )


def parse_node(text: str) -> NodeInfo:
    """The node that `text` describes.

    Raises:
        ConfigError: names the text and the form.
    """
    head, separator, address = text.strip().partition("@")
    node_id, named, roles_text = head.rpartition("=")
    roles = tuple(role.strip() for role in roles_text.split("+"))
    unknown = [role for role in roles if role not in ROLES]
    if not separator or unknown or (named and not node_id) or not address.startswith(_SCHEMES):
        raise ConfigError(
            f"invalid node {text!r}: role@address or id=role@address is allowed, the role "
            f"of {', '.join(ROLES)} (several joined by +), the address as tcp://host:port"
        )
    return NodeInfo(
        id=NodeId(node_id or address),
        roles=roles,
        address=address,
    )


def open_static(
    runtime: Runtime, *, url: str, nodes: Sequence[str], ttl_s: float
) -> StaticRegistry:
    """The registry of `nodes`."""
    return StaticRegistry(nodes)
