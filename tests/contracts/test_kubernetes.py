"""The contracts of registry and election on a Kubernetes API.

On the server of the test kit; and, where `MISHARDS_TEST_KUBECONFIG` names a kubeconfig, on a real
one, in namespaces of their own.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest

from mishards.core.runtime import Runtime
from mishards.discovery.election import Election
from mishards.discovery.election_registry import open_election
from mishards.discovery.kubernetes import KubernetesRegistry
from mishards.discovery.kubernetes_url import parse_kubernetes_url
from mishards.discovery.protocol import Registry
from mishards.testing.election_contract import ElectionContract, ElectionServerContract
from mishards.testing.kubernetes.namespace import CaughtUp, Namespace
from mishards.testing.registry_contract import (
    TTL_S,
    RegistryContract,
    RegistryServerContract,
)
from mishards.testing.services.kubernetes import KubernetesServer


class InNamespace:
    """Opens each handle as from a Pod of its own."""

    namespace: Namespace

    async def open_registry(self, runtime: Runtime) -> Registry:
        api = self.namespace.api()
        url = self.namespace.url(await self.namespace.pod(api), TTL_S)
        return CaughtUp(KubernetesRegistry(parse_kubernetes_url(url), runtime), api)


class OnTestServer:
    @pytest.fixture(autouse=True)
    def _namespace(self, kubernetes: KubernetesServer) -> None:
        self.server = kubernetes
        self.namespace = Namespace(str(kubernetes.kubeconfig))
        asyncio.run(self.namespace.create())


class OnRealServer:
    @pytest.fixture(autouse=True)
    def _namespace(self) -> Iterator[None]:
        kubeconfig = os.environ.get("MISHARDS_TEST_KUBECONFIG")
        if not kubeconfig:
            pytest.skip("MISHARDS_TEST_KUBECONFIG names no kubeconfig of a real API server")
        self.namespace = Namespace(kubeconfig)
        asyncio.run(self.namespace.create())
        yield
        asyncio.run(self.namespace.delete())


class TestKubernetesRegistry(InNamespace, OnTestServer, RegistryServerContract):
    async def open(self, runtime: Runtime) -> Registry:
        return await self.open_registry(runtime)


class TestRealKubernetesRegistry(InNamespace, OnRealServer, RegistryContract):
    async def open(self, runtime: Runtime) -> Registry:
        return await self.open_registry(runtime)


class TestKubernetesElection(OnTestServer, ElectionServerContract):
    async def open(self, runtime: Runtime) -> Election:
        return open_election("kubernetes", runtime, url=self.namespace.url())


class TestRealKubernetesElection(OnRealServer, ElectionContract):
    async def open(self, runtime: Runtime) -> Election:
        return open_election(self.namespace.url(), runtime)
