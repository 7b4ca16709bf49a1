"""The Role that is deployed grants what the providers do, and nothing more."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import yaml

from mishards.core.ids import LogId, NodeId
from mishards.discovery.election_kubernetes import KubernetesElection
from mishards.discovery.kubernetes import FORGET_S, KubernetesRegistry
from mishards.discovery.kubernetes_api import KubernetesApi
from mishards.discovery.kubernetes_url import KubernetesUrl, parse_kubernetes_url
from mishards.testing.kubernetes.namespace import Namespace
from mishards.testing.registry_contract import node
from mishards.testing.services.kubernetes import KubernetesServer
from mishards.testing.stepped import SteppedRuntime

ACCOUNT = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes" / "account.yaml"


def role() -> list[dict[str, Any]]:
    objects = yaml.safe_load_all(ACCOUNT.read_text(encoding="utf-8"))
    (found,) = [one for one in objects if one["kind"] == "Role"]
    rules: list[dict[str, Any]] = found["rules"]
    return rules


async def use(url: KubernetesUrl) -> None:
    """All that the providers ever do."""
    runtime = SteppedRuntime()
    earlier = KubernetesRegistry(url, runtime)
    await earlier.announce(node("earlier"))
    await earlier.close()
    registry = KubernetesRegistry(url, runtime)
    for _ in range(round(FORGET_S / (url.ttl_s / 3)) + 2):
        await registry.announce(node("a"))
        assert node("a") in await registry.nodes()
        runtime.advance(url.ttl_s / 3)
    await registry.withdraw(NodeId("a"))
    await registry.close()
    election = KubernetesElection(url, runtime)
    held = await election.swap(await election.look(LogId(0)), NodeId("a"))
    assert await election.swap(held, NodeId("a")) == await election.look(LogId(0))
    await election.close()
    await runtime.close()


def test_the_role_is_what_is_used(kubernetes: KubernetesServer) -> None:
    namespace = Namespace(str(kubernetes.kubeconfig))

    async def prepare(api: KubernetesApi) -> None:
        await namespace.create()
        await namespace.pod(api, "here")
        await api.close()

    asyncio.run(prepare(namespace.api()))

    def limit(rules: list[dict[str, Any]] | None) -> list[tuple[str, str]]:
        def turn(answerer: Any) -> list[tuple[str, str]]:
            asked: list[tuple[str, str]] = [*answerer.requests]
            answerer.requests.clear()
            answerer.rules = rules
            return asked

        return kubernetes.turn(turn)

    limit(role())
    try:
        asyncio.run(use(parse_kubernetes_url(namespace.url("here", FORGET_S / 4))))
    finally:
        asked = limit(None)
    granted = {
        (verb, plural) for rule in role() for plural in rule["resources"] for verb in rule["verbs"]
    }
    assert set(asked) == granted
