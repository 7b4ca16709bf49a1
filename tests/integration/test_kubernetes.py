"""A cluster whose nodes find each other, and elect their leader, by a Kubernetes API alone."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from pymilvus import MilvusClient

from mishards.core.runtime import SystemRuntime
from mishards.discovery.kubernetes import KubernetesRegistry
from mishards.discovery.kubernetes_url import parse_kubernetes_url
from mishards.server.config import Config, load_config
from mishards.server.lifecycle import running_node
from mishards.testing.kubernetes.namespace import Namespace
from mishards.testing.services.kubernetes import KubernetesServer

NODES = ("writer-0", "reader-0", "reader-1", "proxy-0")
PATIENCE_S = 30.0


def config(namespace: Namespace, pod: str, data: Path) -> Config:
    options = {
        "cluster.data": str(data),
        "cluster.discovery": namespace.url(pod),
        "cluster.election": namespace.url(),
        "node.id": pod,
        "proxy.port": 0,
    }
    return load_config(options=options, environ={}).config


async def is_ready(registry: KubernetesRegistry, name: str, ready: bool) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if {node.id: node.ready for node in await registry.nodes()}.get(name) is ready:
                return
            await asyncio.sleep(0.02)


def test_a_cluster_by_kubernetes_alone(kubernetes: KubernetesServer, tmp_path: Path) -> None:
    namespace = Namespace(str(kubernetes.kubeconfig))

    async def work(stack: AsyncExitStack) -> None:
        await namespace.create()
        api = namespace.api()
        stack.push_async_callback(api.close)
        for name in NODES:
            await namespace.pod(api, name)
        for name in NODES:
            own = config(namespace, name, tmp_path / "data")
            running = await stack.enter_async_context(running_node(own, [name.split("-")[0]]))
        runtime = SystemRuntime()
        stack.push_async_callback(runtime.close)
        watcher = KubernetesRegistry(parse_kubernetes_url(namespace.url()), runtime)
        stack.push_async_callback(watcher.close)
        client = await asyncio.to_thread(MilvusClient, uri=running.uri)
        stack.callback(client.close)

        async def ask(method: str, *given: object, **more: object) -> list[list[object]]:
            return await asyncio.to_thread(getattr(client, method), "docs", *given, **more)

        async def found() -> int:
            (hits,) = await ask("search", data=[[9.0, 1.0, 0.0, 0.0]], limit=20)
            return len(hits)

        await ask("create_collection", dimension=4, auto_id=True, consistency_level="Strong")
        await ask("insert", [{"vector": [float(n), 1.0, 0.0, 0.0]} for n in range(10)])
        assert await found() == 10
        # What Kubernetes does not call ready gets no work, though it would answer.
        await namespace.status(api, "reader-0", ready=False)
        await is_ready(watcher, "reader-0", False)
        assert await found() == 10
        # Without the API server all goes on as it was.
        kubernetes.stop()
        try:
            assert await found() == 10
            await ask("insert", [{"vector": [0.0, 0.0, 0.0, 1.0]}])
            assert await found() == 11
        finally:
            kubernetes.start()
        await namespace.status(api, "reader-0", ready=True)
        await is_ready(watcher, "reader-0", True)
        assert await found() == 11

    async def main() -> None:
        async with AsyncExitStack() as stack:
            await work(stack)

    asyncio.run(main())
