"""A registry in etcd, commonly beside the metadata: a key per node, `<prefix>/node/<id>`.

A node's beat is the revision of etcd at which its key was last put. Invariants: who is live is
decided by each reader for itself, see `discovery.liveness`; keys that stay silent for `FORGET_S`
are removed, unless they were put meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from mishards.core.ids import NodeId
from mishards.core.runtime import Runtime
from mishards.discovery.entries import Entries
from mishards.discovery.liveness import Beat, Liveness
from mishards.discovery.protocol import NodeInfo
from mishards.discovery.service import ask_service
from mishards.storage.etcd_client import EtcdClient
from mishards.storage.etcd_requests import after, delete, put, read, unchanged
from mishards.storage.etcd_url import parse_etcd_url

T = TypeVar("T")

FORGET_S = 600.0
_ANSWER_S = 2.0


class _Entry(msgspec.Struct, frozen=True):
    """What lies at a node's key; the node itself may be of another release."""

    node: msgspec.Raw
    ms: int = 0


class EtcdRegistry:
    """A `Registry` over etcd; calls run off the loop."""

    def __init__(self, url: str, runtime: Runtime, *, ttl_s: float) -> None:
        """Raises `ConfigError` when the URL cannot be used."""
        parsed = parse_etcd_url(url)
        self._client = EtcdClient(parsed, runtime.monotonic_s, answer_s=_ANSWER_S)
        self._prefix = f"{parsed.prefix}/node/".encode()
        self._runtime = runtime
        self._ttl_s = ttl_s
        self._liveness = Liveness(ttl_s)
        self._entries = Entries()
        self._announced: set[NodeId] = set()
        self._written_s = 0.0

    async def announce(self, node: NodeInfo) -> None:
        self._announced.add(node.id)
        entry = _Entry(msgspec.Raw(msgspec.json.encode(node)), self._runtime.now_ms())
        operation = put(self._key(node.id), msgspec.json.encode(entry))
        await self._do(self._client.write, [], [operation])
        self._written_s = self._runtime.monotonic_s()

    async def withdraw(self, node_id: NodeId) -> None:
        self._announced.discard(node_id)
        await self._do(self._client.write, [], [delete(self._key(node_id))])

    async def nodes(self) -> tuple[NodeInfo, ...]:
        rows = await self._do(self._read)
        now_s = self._runtime.monotonic_s()
        live = self._liveness.look(
            {node_id: beat for node_id, (_, beat) in rows.items()},
            monotonic_s=now_s,
            now_ms=self._runtime.now_ms(),
            writable=not self._announced or now_s - self._written_s < self._ttl_s / 2,
        )
        for node_id, (revision, _) in self._liveness.silent_for(FORGET_S).items():
            key = self._key(node_id)
            await self._do(self._client.write, [unchanged(key, revision)], [delete(key)])
        found = [self._entries.decode(name, rows[name][0]) for name in live]
        return tuple(sorted(node for node in found if node is not None))

    async def close(self) -> None:
        await self._runtime.blocking(self._client.close)

    async def _do(self, work: Callable[..., T], *args: object) -> T:
        return await ask_service(self._runtime, "the registry", work, *args)

    def _read(self) -> dict[NodeId, tuple[bytes, Beat]]:
        """What each node's key holds, and its beat."""
        found = self._client.read(read(self._prefix, after(self._prefix))).ranges[0]
        rows: dict[NodeId, tuple[bytes, Beat]] = {}
        for item in found:
            name = NodeId(item.key[len(self._prefix) :].decode(errors="replace"))
            try:
                entry = msgspec.json.decode(item.value, type=_Entry)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                entry = _Entry(msgspec.Raw(item.value))
            rows[name] = (bytes(entry.node), (item.revision, entry.ms))
        return rows

    def _key(self, node_id: NodeId) -> bytes:
        return self._prefix + node_id.encode()


def open_etcd(runtime: Runtime, *, url: str, nodes: Sequence[str], ttl_s: float) -> EtcdRegistry:
    """The registry in etcd at `url`."""
    return EtcdRegistry(url, runtime, ttl_s=ttl_s)
