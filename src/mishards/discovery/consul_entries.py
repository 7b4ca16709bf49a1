"""How a node is told to Consul as an instance of a service, and read back.

The node itself lies in the instance's metadata, as JSON in pieces: Consul limits the length of a
value. Address, port and tags say the same for people and for Consul's DNS.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from mishards.core.ids import NodeId
from mishards.discovery.protocol import NodeInfo

_PIECE = 500
"""Characters; Consul takes 512 bytes."""
_FORGET = "10m"
"""When Consul removes a node that has been silent; it takes no less than a minute."""
PASSING = "passing"


class Service(msgspec.Struct, frozen=True, rename="pascal"):
    """An instance as `/health/service` lists it."""

    id: str = msgspec.field(name="ID")
    meta: dict[str, str] | None = None
    modify_index: int = 0


class Check(msgspec.Struct, frozen=True, rename="pascal"):
    """A check of an instance or of its machine."""

    status: str = ""


class Instance(msgspec.Struct, frozen=True, rename="pascal"):
    """One of the list."""

    service: Service
    checks: list[Check] = []

    @property
    def passing(self) -> bool:
        return all(check.status == PASSING for check in self.checks)

    @property
    def body(self) -> str:
        """What the node says of itself."""
        meta = self.service.meta or {}
        pieces: list[str] = []
        while (piece := meta.get(_key(len(pieces)))) is not None:
            pieces.append(piece)
        return "".join(pieces)


def instance_id(service: str, node_id: NodeId) -> str:
    """The id of a node's instance, unique on its agent."""
    return f"{service}:{quote(node_id, safe='')}"


def check_id(service: str, node_id: NodeId) -> str:
    """The id of the instance's check."""
    return f"{instance_id(service, node_id)}:ttl"


def body_of(node: NodeInfo) -> str:
    """The node as ASCII: a length in characters is then one in bytes."""
    return json.dumps(msgspec.to_builtins(node), separators=(",", ":"))


def registration(service: str, node: NodeInfo, ttl_s: float) -> dict[str, Any]:
    """The body of a request to register a node; it counts as alive for `ttl_s` then."""
    body = body_of(node)
    pieces = [body[start : start + _PIECE] for start in range(0, len(body), _PIECE)]
    where = urlsplit(node.address)
    place = {"Address": where.hostname, "Port": where.port} if where.scheme == "tcp" else {}
    return {
        "ID": instance_id(service, node.id),
        "Name": service,
        "Tags": list(node.roles),
        "Meta": {_key(number): piece for number, piece in enumerate(pieces)},
        **place,
        "Check": {
            "CheckID": check_id(service, node.id),
            "Name": "renewed by the node",
            "TTL": f"{round(ttl_s * 1000)}ms",
            "Status": PASSING,
            "DeregisterCriticalServiceAfter": _FORGET,
        },
    }


def _key(number: int) -> str:
    return f"node-{number}"
