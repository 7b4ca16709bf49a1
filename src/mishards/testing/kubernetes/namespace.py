"""A namespace with Pods for tests, made through the Kubernetes API alone: on any server.

The Pods are given to no machine, and their status is written by the tests; so a real API server
serves without a machine that runs anything.
"""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import msgspec

from mishards.core.errors import Unavailable
from mishards.core.ids import NodeId
from mishards.discovery.kubernetes import KubernetesRegistry
from mishards.discovery.kubernetes_api import MERGE_PATCH, KubernetesApi
from mishards.discovery.kubernetes_leases import LEASES
from mishards.discovery.kubernetes_pods import CLUSTER_LABEL, NAME_LABEL, PODS, pod_selector
from mishards.discovery.kubernetes_url import parse_kubernetes_url
from mishards.discovery.kubernetes_watch import Meta, ObjectWatch
from mishards.discovery.protocol import NodeInfo

CLUSTER = "tested"
_PATIENCE_S = 30.0


class Namespace:
    """One namespace; a new one for each test."""

    def __init__(self, kubeconfig: str) -> None:
        self._kubeconfig = kubeconfig
        self.name = f"mishards-{uuid4().hex[:12]}"
        self._made = 0

    def url(self, pod: str = "", ttl_s: float = 30.0) -> str:
        """For a provider in `pod`."""
        return (
            f"kubernetes://{self.name}/{CLUSTER}?kubeconfig={self._kubeconfig}"
            f"&pod={pod}&ttl_s={ttl_s}"
        )

    def api(self) -> KubernetesApi:
        """A way there; close it."""
        return KubernetesApi(parse_kubernetes_url(self.url()))

    async def create(self) -> None:
        """Make it."""
        api = self.api()
        try:
            body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.name}}
            await api.call("POST", "/api/v1/namespaces", body=body)
        finally:
            await api.close()

    async def delete(self) -> None:
        """Remove it, and all that is in it."""
        api = self.api()
        try:
            await api.call("DELETE", f"/api/v1/namespaces/{self.name}")
        finally:
            await api.close()

    async def pod(self, api: KubernetesApi, name: str = "", *, ready: bool = True) -> str:
        """Make a Pod of the cluster, running, and ready or not; its name."""
        self._made += 1
        name = name or f"pod-{self._made}"
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "labels": {NAME_LABEL: "mishards", CLUSTER_LABEL: CLUSTER},
            },
            "spec": {
                "schedulerName": "nobody",
                "containers": [{"name": "node", "image": "none"}],
            },
        }
        async with asyncio.timeout(_PATIENCE_S):
            while True:
                try:
                    await api.call("POST", PODS, body=body)
                    break
                except Unavailable as error:
                    # A real server gives a new namespace its account a moment later.
                    if "serviceaccount" not in error.message:
                        raise
                    await asyncio.sleep(0.1)
        await self.status(api, name, ready=ready)
        return name

    async def status(
        self, api: KubernetesApi, name: str, *, ready: bool, phase: str = "Running"
    ) -> None:
        """Say of a Pod what its machine would."""
        condition = {"type": "Ready", "status": "True" if ready else "False"}
        body = {"status": {"phase": phase, "conditions": [condition]}}
        await api.call("PATCH", f"{PODS}/{name}/status", body=body, kind=MERGE_PATCH)

    async def delete_pod(self, api: KubernetesApi, name: str) -> None:
        """Remove a Pod at once."""
        await api.call("DELETE", f"{PODS}/{name}", body={"gracePeriodSeconds": 0})


class CaughtUp:
    """A `Registry` that says what another one does, once its watches have seen what is there.

    For tests that look through one handle at what they have just done through another. Every call
    asks the server first, and so fails where it does not answer.
    """

    def __init__(self, registry: KubernetesRegistry, api: KubernetesApi) -> None:
        """Both are closed with it."""
        self._registry = registry
        self._api = api

    async def announce(self, node: NodeInfo) -> None:
        await self._listed(PODS, "")
        await self._registry.announce(node)

    async def withdraw(self, node_id: NodeId) -> None:
        await self._registry.withdraw(node_id)

    async def nodes(self) -> tuple[NodeInfo, ...]:
        await self._registry.nodes()
        pods, leases = self._registry.pods, self._registry.leases
        selector = pod_selector(CLUSTER)
        async with asyncio.timeout(_PATIENCE_S):
            await self._caught_up(pods, PODS, selector)
            await self._caught_up(leases, LEASES, selector)
        return await self._registry.nodes()

    async def close(self) -> None:
        await self._registry.close()
        await self._api.close()

    async def _caught_up(self, watch: ObjectWatch[Any], path: str, selector: str) -> None:
        while True:
            if watch.versions == await self._listed(path, selector):
                return
            await asyncio.sleep(0.01)

    async def _listed(self, path: str, selector: str) -> dict[str, str]:
        _, data = await self._api.call("GET", path, query=[("labelSelector", selector)])
        items = msgspec.json.decode(data, type=_List).items
        return {item.metadata.name: item.metadata.resource_version for item in items}


class _Item(msgspec.Struct):
    metadata: Meta


class _List(msgspec.Struct):
    items: list[_Item]
