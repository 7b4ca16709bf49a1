"""The API server of the test kit keeps to the published API where providers depend on it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mishards.core.errors import Unavailable
from mishards.discovery.kubernetes_api import MERGE_PATCH, Gone, KubernetesApi
from mishards.discovery.kubernetes_leases import LEASES
from mishards.discovery.kubernetes_pods import PODS
from mishards.testing.expect import raises
from mishards.testing.kubernetes.namespace import Namespace
from mishards.testing.kubernetes.objects import merged
from mishards.testing.services.kubernetes import KubernetesServer

LEASE = {"metadata": {"name": "one", "labels": {"a": "1"}}, "spec": {"holderIdentity": "me"}}


def play(server: KubernetesServer, case: Callable[[KubernetesApi], Awaitable[None]]) -> None:
    async def main() -> None:
        namespace = Namespace(str(server.kubeconfig))
        await namespace.create()
        api = namespace.api()
        try:
            await case(api)
        finally:
            await api.close()

    asyncio.run(main())


async def _ask(api: KubernetesApi, *call: Any, **more: Any) -> dict[str, Any]:
    _, data = await api.call(*call, **more)
    found: dict[str, Any] = json.loads(data)
    return found


def test_an_object_is_replaced_in_the_version_that_was_read_and_no_other(
    kubernetes: KubernetesServer,
) -> None:
    async def case(api: KubernetesApi) -> None:
        made = await _ask(api, "POST", LEASES, body=LEASE)
        again = await _ask(api, "POST", LEASES, body=LEASE, besides=[409])
        assert (again["code"], again["reason"]) == (409, "AlreadyExists")
        newer = await _ask(api, "PUT", f"{LEASES}/one", body=made | {"spec": {"a": 1}})
        assert newer["metadata"]["resourceVersion"] != made["metadata"]["resourceVersion"]
        stale = await _ask(api, "PUT", f"{LEASES}/one", body=made, besides=[409])
        assert (stale["code"], stale["reason"]) == (409, "Conflict")
        assert await _ask(api, "GET", f"{LEASES}/one") == newer
        unsure = await _ask(api, "PUT", f"{LEASES}/one", body=LEASE, besides=[422])
        assert "resourceVersion: must be specified" in unsure["message"]

    play(kubernetes, case)


def test_a_change_that_changes_nothing_is_none(kubernetes: KubernetesServer) -> None:
    async def case(api: KubernetesApi) -> None:
        made = await _ask(api, "POST", LEASES, body=LEASE)
        patch = {"metadata": {"labels": {"a": "1"}}}
        assert made == await _ask(api, "PATCH", f"{LEASES}/one", body=patch, kind=MERGE_PATCH)
        other = await _ask(api, "PATCH", f"{LEASES}/one", body={"spec": None}, kind=MERGE_PATCH)
        assert "spec" not in other

    play(kubernetes, case)


def test_a_status_changes_by_its_subresource_alone(kubernetes: KubernetesServer) -> None:
    async def case(api: KubernetesApi) -> None:
        body = {"metadata": {"name": "p"}, "status": {"phase": "Running"}}
        assert (await _ask(api, "POST", PODS, body=body))["status"] == {"phase": "Pending"}
        body = {"metadata": {"labels": {"b": "2"}}, "status": {"phase": "Running"}}
        patched = await _ask(api, "PATCH", f"{PODS}/p", body=body, kind=MERGE_PATCH)
        assert patched["status"] == {"phase": "Pending"}
        body["metadata"] = {"labels": {"b": "3"}}
        patched = await _ask(api, "PATCH", f"{PODS}/p/status", body=body, kind=MERGE_PATCH)
        assert patched["status"] == {"phase": "Running"}
        assert patched["metadata"]["labels"] == {"b": "2"}

    play(kubernetes, case)


def test_a_watch_sees_objects_begin_and_cease_to_match(kubernetes: KubernetesServer) -> None:
    async def case(api: KubernetesApi) -> None:
        since = (await _ask(api, "GET", LEASES))["metadata"]["resourceVersion"]
        query = [("labelSelector", "a=1"), ("resourceVersion", since), ("timeoutSeconds", "30")]
        watch = await api.watch(LEASES, query)
        await api.call("POST", LEASES, body=LEASE)
        for label in ("2", "1", "1"):
            body = {"metadata": {"labels": {"a": label}, "annotations": {"n": label}}}
            await api.call("PATCH", f"{LEASES}/one", body=body, kind=MERGE_PATCH)
        await api.call("PATCH", f"{LEASES}/one", body={"spec": None}, kind=MERGE_PATCH)
        await api.call("DELETE", f"{LEASES}/one")
        kinds: list[str] = []
        versions: list[int] = []
        async for line in watch:
            event = json.loads(line)
            kinds.append(event["type"])
            versions.append(int(event["object"]["metadata"]["resourceVersion"]))
            if len(kinds) == 5:
                break
        watch.close()
        assert kinds == ["ADDED", "DELETED", "ADDED", "MODIFIED", "DELETED"]
        assert versions == sorted(set(versions))

    play(kubernetes, case)


def test_a_watch_ends_when_its_time_is_over(kubernetes: KubernetesServer) -> None:
    async def case(api: KubernetesApi) -> None:
        await api.call("POST", LEASES, body=LEASE)
        watch = await api.watch(LEASES, [("timeoutSeconds", "0.01")])
        assert [json.loads(line)["type"] async for line in watch] == ["ADDED"]
        watch.close()

    play(kubernetes, case)


@pytest.mark.parametrize("in_stream", [True, False])
def test_forgotten_history_is_gone(kubernetes: KubernetesServer, in_stream: bool) -> None:
    async def case(api: KubernetesApi) -> None:
        since = (await _ask(api, "GET", LEASES))["metadata"]["resourceVersion"]
        await api.call("POST", LEASES, body=LEASE)
        kubernetes.turn(lambda answerer: setattr(answerer, "gone_in_stream", in_stream))
        kubernetes.turn(lambda answerer: answerer.objects.forget())
        if in_stream:
            watch = await api.watch(LEASES, [("resourceVersion", since)])
            (line,) = [line async for line in watch]
            assert json.loads(line)["type"] == "ERROR"
            assert json.loads(line)["object"]["code"] == 410
            watch.close()
        else:
            await raises(Gone, api.watch(LEASES, [("resourceVersion", since)]))

    play(kubernetes, case)


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({"name": "One"}, "RFC 1123"),
        ({"name": "one", "labels": {"a": "b c"}}, "'b c' is no valid value"),
        ({"name": "one", "annotations": {"a/b/c": ""}}, "'a/b/c' is no qualified name"),
        ({"name": "one", "annotations": {"a": 7}}, "values are strings"),
        ({"name": "one", "annotations": {"a": "x" * 300_000}}, "300001 bytes are too many"),
    ],
)
def test_metadata_is_checked(
    kubernetes: KubernetesServer, meta: dict[str, Any], message: str
) -> None:
    async def case(api: KubernetesApi) -> None:
        error = await raises(Unavailable, api.call("POST", LEASES, body={"metadata": meta}))
        assert "refuses with 422" in error.message
        assert message in error.message

    play(kubernetes, case)


@pytest.mark.parametrize(
    ("target", "patch", "expected"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"a": "c"}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({"a": "foo"}, None, None),
    ],
)
def test_a_merge_patch_is_that_of_rfc_7386(target: Any, patch: Any, expected: Any) -> None:
    assert merged(target, patch) == expected
