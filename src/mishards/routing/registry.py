"""Finds a routing policy by its name."""

from __future__ import annotations

from mishards.core.plugins import load
from mishards.routing.protocol import RoutingPolicy

BUILTIN = {
    "consistent_hash": "mishards.routing.consistent_hash:ConsistentHash",
    "rendezvous": "mishards.routing.rendezvous:Rendezvous",
}
DEFAULT = "consistent_hash"


def policy(name: str = DEFAULT) -> RoutingPolicy:
    """The policy called `name`; a plugin of kind `routing` is a factory without arguments.

    Raises:
        PluginError: no such policy; lists the known ones.
    """
    found: RoutingPolicy = load("routing", name, BUILTIN)()
    return found
