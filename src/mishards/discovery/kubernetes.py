"""A registry in Kubernetes: what a node says lies in a Lease, whether it can serve its Pod tells.

Each node keeps a Lease of its own, which is made for heartbeats and is all that a node has to be
allowed to write: who may change Pods may run anything in them. The Lease belongs to the node's Pod
and goes with it. Pods are found by the labels `app.kubernetes.io/name: mishards` and
`app.kubernetes.io/instance: <cluster>`. Invariants:

- a node is there when its Lease was renewed of late, see `discovery.liveness`, and its Pod has not
  ended; it is ready when it says so, and Kubernetes says so of its Pod;
- the view follows two watches and may be behind them by what the network takes; a node's own entry
  is always as that node said it last;
- what has not changed is said again only every third of `ttl_s`: a write is the API server's work;
- where a watch of Leases has yet to say something, nobody's silence counts.
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Sequence
from typing import Any

import msgspec

from mishards.core.errors import ConfigError
from mishards.core.ids import NodeId
from mishards.core.runtime import Runtime
from mishards.discovery.entries import Entries
from mishards.discovery.kubernetes_api import MERGE_PATCH, KubernetesApi
from mishards.discovery.kubernetes_leases import (
    COMPONENT_LABEL,
    LEASES,
    lease_body,
    read_lease,
)
from mishards.discovery.kubernetes_pods import PODS, Pod, decode_pod, pod_selector
from mishards.discovery.kubernetes_url import KubernetesUrl, parse_kubernetes_url
from mishards.discovery.kubernetes_watch import ObjectWatch
from mishards.discovery.liveness import Beat, Liveness
from mishards.discovery.protocol import NodeInfo

FORGET_S = 600.0
_COMPONENT = "node"
_PODS_SILENCE_S = 90.0
"""On a watch on which nothing else happens the server sends a bookmark about every minute."""
_NOT_FOUND, _CONFLICT = 404, 409


class _Entry(msgspec.Struct, frozen=True):
    """What lies in a node's Lease; the node itself may be of another release."""

    id: NodeId
    node: msgspec.Raw
    pod: str
    beat: int = 0
    ms: int = 0


class _Said(msgspec.Struct, frozen=True):
    """The same as it was read; `node` is None where it cannot be."""

    id: NodeId
    node: NodeInfo | None
    pod: str
    beat: Beat


class KubernetesRegistry:
    """A `Registry` over the Leases and Pods of one namespace.

    Attributes:
        pods: the cluster's Pods, as they are watched.
        leases: the Leases of its nodes.
    """

    def __init__(
        self, url: KubernetesUrl, runtime: Runtime, *, api: KubernetesApi | None = None
    ) -> None:
        """`api`: None for that of the URL."""
        self._url = url
        self._runtime = runtime
        self._api = KubernetesApi(url) if api is None else api
        self._pod = url.pod or socket.gethostname()
        selector = pod_selector(url.cluster)
        self.pods: ObjectWatch[Pod] = ObjectWatch(self._api, runtime, PODS, selector, decode_pod)
        self.leases: ObjectWatch[_Said] = ObjectWatch(
            self._api, runtime, LEASES, f"{selector},{COMPONENT_LABEL}={_COMPONENT}", self._read
        )
        self._liveness = Liveness(url.ttl_s)
        self._entries = Entries()
        self._own: dict[NodeId, NodeInfo | None] = {}
        self._written: dict[NodeId, tuple[NodeInfo, float]] = {}
        self._beat = 0

    async def announce(self, node: NodeInfo) -> None:
        now_s = self._runtime.monotonic_s()
        said, said_s = self._written.get(node.id, (None, 0.0))
        recent = now_s - said_s < self._url.ttl_s / 3
        if said == node and recent and self._name(node.id) in self.leases.objects:
            return
        await self._write(node)
        self._own[node.id] = node
        self._written[node.id] = (node, now_s)

    async def withdraw(self, node_id: NodeId) -> None:
        self._own[node_id] = None
        self._written.pop(node_id, None)
        path = f"{LEASES}/{self._name(node_id)}"
        await self._api.call("DELETE", path, besides=[_NOT_FOUND])

    async def nodes(self) -> tuple[NodeInfo, ...]:
        await self.leases.current(self._url.ttl_s / 2)
        entries = self.leases.objects.values()
        # A Lease of a Pod that was not seen may mean that the watch of Pods is half open.
        strange = any(entry.pod not in self.pods.objects for entry in entries)
        await self.pods.current(self._url.ttl_s / 2 if strange else _PODS_SILENCE_S)
        now_s = self._runtime.monotonic_s()
        live = self._liveness.look(
            {entry.id: entry.beat for entry in entries},
            monotonic_s=now_s,
            now_ms=self._runtime.now_ms(),
            writable=self.leases.proved,
        )
        found = {entry.id: self._node(entry) for entry in entries if entry.id in live}
        found.update(self._own)
        await self._forget()
        return tuple(sorted(node for node in found.values() if node is not None))

    async def close(self) -> None:
        await self.leases.close()
        await self.pods.close()
        await self._api.close()

    def _node(self, entry: _Said) -> NodeInfo | None:
        pod = self.pods.objects.get(entry.pod)
        if entry.node is None or pod is None or pod.ended:
            return None
        return msgspec.structs.replace(entry.node, ready=entry.node.ready and pod.ready)

    def _read(self, raw: Any) -> _Said:
        lease = read_lease(raw)
        entry = msgspec.json.decode(lease.entry, type=_Entry)
        node = self._entries.decode(lease.metadata.name, bytes(entry.node))
        return _Said(entry.id, node, entry.pod, (entry.beat, entry.ms))

    async def _write(self, node: NodeInfo) -> None:
        pod = await self._own_pod()
        self._beat += 1
        now_ms = self._runtime.now_ms()
        entry = _Entry(
            node.id, msgspec.Raw(msgspec.json.encode(node)), self._pod, self._beat, now_ms
        )
        owner = {"apiVersion": "v1", "kind": "Pod", "name": self._pod, "uid": pod.uid}
        name = self._name(node.id)
        body = lease_body(
            name,
            cluster=self._url.cluster,
            component=_COMPONENT,
            entry=msgspec.json.encode(entry),
            holder=node.id,
            now_ms=now_ms,
            meta={"ownerReferences": [owner]},
        )
        if not await self._patched(name, body):
            status, _ = await self._api.call("POST", LEASES, body=body, besides=[_CONFLICT])
            if status == _CONFLICT:
                await self._patched(name, body)

    async def _patched(self, name: str, body: dict[str, Any]) -> bool:
        """Whether the Lease was there to be changed."""
        status, _ = await self._api.call(
            "PATCH", f"{LEASES}/{name}", body=body, kind=MERGE_PATCH, besides=[_NOT_FOUND]
        )
        return status != _NOT_FOUND

    async def _own_pod(self) -> Pod:
        if self._pod not in self.pods.objects:
            await self.pods.current(0.0)
        if (pod := self.pods.objects.get(self._pod)) is None:
            raise ConfigError(
                f"no Pod {self._pod!r} with the labels {pod_selector(self._url.cluster)} is "
                "there: label it, or name this process's Pod by kubernetes://…?pod=name"
            )
        return pod

    async def _forget(self) -> None:
        """Remove what earlier processes of this Pod left; with a Pod its Leases go anyway."""
        silent = self._liveness.silent_for(FORGET_S)
        for name, entry in [*self.leases.objects.items()]:
            if entry.id in silent and entry.pod == self._pod:
                version = {"resourceVersion": self.leases.versions[name]}
                await self._api.call(
                    "DELETE",
                    f"{LEASES}/{name}",
                    body={"preconditions": version},
                    besides=[_NOT_FOUND, _CONFLICT],
                )

    def _name(self, node_id: NodeId) -> str:
        # Names of Leases may have far fewer characters than those of nodes.
        digest = hashlib.blake2b(node_id.encode(), digest_size=16).hexdigest()
        return f"{self._url.cluster}-node-{digest}"


def open_kubernetes(
    runtime: Runtime, *, url: str, nodes: Sequence[str], ttl_s: float
) -> KubernetesRegistry:
    """The registry in Kubernetes; how long nodes live is in `url`, since beats are slower here."""
    return KubernetesRegistry(parse_kubernetes_url(url), runtime)
