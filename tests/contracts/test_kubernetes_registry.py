"""What only Kubernetes can do to a registry; the rest is in the contract suite."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from mishards.cluster.membership import Membership
from mishards.core.errors import ConfigError, Unavailable
from mishards.discovery.kubernetes import FORGET_S, KubernetesRegistry
from mishards.discovery.kubernetes_api import KubernetesApi
from mishards.discovery.kubernetes_leases import LEASES
from mishards.discovery.kubernetes_pods import CLUSTER_LABEL, NAME_LABEL
from mishards.discovery.kubernetes_url import KubernetesUrl, parse_kubernetes_url
from mishards.discovery.protocol import NodeInfo
from mishards.testing.certificates import Authority
from mishards.testing.expect import raises
from mishards.testing.kubernetes.namespace import CLUSTER, CaughtUp, Namespace
from mishards.testing.kubernetes.requests import Answerer
from mishards.testing.registry_contract import TTL_S, names, node
from mishards.testing.services.kubernetes import KubernetesServer
from mishards.testing.stepped import SteppedRuntime
from mishards.testing.waiting import until

PATIENCE_S = 30.0


class Scene:
    """A registry in the Pod `here`, and another one in the Pod `there`."""

    def __init__(self, server: KubernetesServer) -> None:
        self.server = server
        self.runtime = SteppedRuntime()
        self.namespace = Namespace(str(server.kubeconfig))
        self.api = self.namespace.api()
        self.here = self.registry("here")
        self.there = self.registry("there")
        self.seen = CaughtUp(self.here, self.api)

    def registry(self, pod: str, ttl_s: float = TTL_S) -> KubernetesRegistry:
        url = parse_kubernetes_url(self.namespace.url(pod, ttl_s))
        return KubernetesRegistry(url, self.runtime)

    def asked(self, verb: str, plural: str) -> int:
        """How often the server was asked that."""
        return self.server.turn(lambda answerer: answerer.requests.count((verb, plural)))

    async def view(self, done: Callable[[tuple[NodeInfo, ...]], bool]) -> tuple[NodeInfo, ...]:
        """What the watches of `here` have shown, once it is `done`; asks nobody but them."""
        found = await self.here.nodes()
        async with asyncio.timeout(PATIENCE_S):
            while not done(found):
                await asyncio.sleep(0.005)
                found = await self.here.nodes()
        return found

    async def ended(self) -> None:
        """Until no watch runs."""
        await until(lambda: not self.here.leases.runs and not self.here.pods.runs, PATIENCE_S)


def play(server: KubernetesServer, case: Callable[[Scene], Awaitable[None]]) -> None:
    async def main() -> None:
        scene = Scene(server)
        await scene.namespace.create()
        await scene.namespace.pod(scene.api, "here")
        await scene.namespace.pod(scene.api, "there")
        try:
            await case(scene)
        finally:
            await scene.there.close()
            await scene.seen.close()
            await scene.runtime.close()

    asyncio.run(main())


def test_a_pod_that_runs_and_is_not_ready_is_not_ready_and_stops_no_watch(
    kubernetes: KubernetesServer,
) -> None:
    async def case(scene: Scene) -> None:
        await scene.namespace.status(scene.api, "there", ready=False)
        await scene.there.announce(node("b"))
        (found,) = await scene.view(lambda found: len(found) == 1)
        assert not found.ready
        for ready in (True, False, True):
            await scene.namespace.status(scene.api, "there", ready=ready)
            (found,) = await scene.view(lambda found, ready=ready: found[0].ready == ready)
            assert found == node("b", ready=ready)
        await scene.there.announce(node("b", ready=False))
        await scene.view(lambda found: not found[0].ready)

    play(kubernetes, case)


def test_pods_that_end_or_are_removed_take_their_nodes_with_them(
    kubernetes: KubernetesServer,
) -> None:
    async def case(scene: Scene) -> None:
        await scene.there.announce(node("b"))
        await scene.view(lambda found: len(found) == 1)
        await scene.namespace.status(scene.api, "there", ready=False, phase="Failed")
        await scene.view(lambda found: found == ())
        await scene.namespace.status(scene.api, "there", ready=True)
        await scene.view(lambda found: found == (node("b"),))
        await scene.namespace.delete_pod(scene.api, "there")
        await scene.view(lambda found: found == ())

    play(kubernetes, case)


@pytest.mark.parametrize(
    "status",
    [
        None,
        {},
        {"phase": None, "conditions": None},
        {"phase": "Running", "conditions": []},
        {"phase": "Running", "conditions": [{"type": "Ready"}, {"status": "True"}]},
        {"phase": 7, "conditions": "none"},
    ],
)
def test_a_pod_with_an_odd_status_hides_no_other(
    kubernetes: KubernetesServer, status: dict[str, object] | None
) -> None:
    async def case(scene: Scene) -> None:
        await scene.there.announce(node("b"))
        await scene.here.announce(node("a"))
        await scene.view(lambda found: len(found) == 2)
        labels = {NAME_LABEL: "mishards", CLUSTER_LABEL: CLUSTER}
        meta = {"name": "odd", "resourceVersion": "1", "labels": labels, "annotations": None}
        line = {"type": "ADDED", "object": {"metadata": meta, "status": status, "new": [1]}}
        scene.server.turn(lambda answerer: answerer.say(json.dumps(line).encode() + b"\n"))
        await until(lambda: "odd" in scene.here.pods.versions, PATIENCE_S)
        assert await names(scene.here) == ["a", "b"]
        await scene.there.announce(node("b", ready=False))
        await scene.view(lambda found: found == (node("a"), node("b", ready=False)))

    play(kubernetes, case)


@pytest.mark.parametrize("entry", ["", "no JSON", "7", '{"id": "x", "node": {"id": 7}, "pod": ""}'])
def test_a_lease_that_cannot_be_read_hides_no_other(
    kubernetes: KubernetesServer, entry: str
) -> None:
    async def case(scene: Scene) -> None:
        await scene.there.announce(node("b"))
        labels = {NAME_LABEL: "mishards", CLUSTER_LABEL: CLUSTER}
        labels["app.kubernetes.io/component"] = "node"
        meta = {"name": "odd", "labels": labels, "annotations": {"mishards/entry": entry}}
        await scene.api.call("POST", LEASES, body={"metadata": meta})
        assert await names(scene.seen) == ["b"]

    play(kubernetes, case)


@pytest.mark.parametrize("in_stream", [True, False])
def test_a_watch_whose_history_is_gone_lists_anew(
    kubernetes: KubernetesServer, in_stream: bool
) -> None:
    async def case(scene: Scene) -> None:
        await scene.there.announce(node("b"))
        await scene.view(lambda found: len(found) == 1)

        def cut(answerer: Answerer) -> None:
            answerer.gone_in_stream = in_stream
            answerer.say(b"")

        scene.server.turn(cut)
        await scene.ended()
        lists = scene.asked("list", "leases")
        await scene.there.announce(node("c"))
        await scene.there.withdraw(node("b").id)
        scene.server.turn(lambda answerer: answerer.objects.forget())
        await scene.view(lambda found: found == (node("c"),))
        assert scene.asked("list", "leases") > lists

    play(kubernetes, case)


def test_a_watch_that_was_cut_goes_on_where_it_was(kubernetes: KubernetesServer) -> None:
    async def case(scene: Scene) -> None:
        await scene.there.announce(node("b"))
        await scene.view(lambda found: len(found) == 1)
        lists = scene.asked("list", "leases")
        for number in range(3):
            scene.server.turn(lambda answerer: answerer.say(b""))
            await scene.ended()
            await scene.there.announce(node(f"c{number}"))
            await scene.there.withdraw(node(f"c{number - 1}").id)
            expected = (node("b"), node(f"c{number}"))
            await scene.view(lambda found, expected=expected: found == expected)
        assert scene.asked("list", "leases") == lists

    play(kubernetes, case)


def test_bookmarks_carry_a_quiet_watch_over_forgotten_history(
    kubernetes: KubernetesServer,
) -> None:
    async def case(scene: Scene) -> None:
        await scene.there.announce(node("b"))
        await scene.view(lambda found: len(found) == 1)
        # Other things happen, and are forgotten; of them a bookmark alone tells this watch.
        for number in range(3):
            await scene.api.call("POST", LEASES, body={"metadata": {"name": f"other-{number}"}})
        scene.server.turn(lambda answerer: answerer.bookmark())
        newest = str(scene.server.turn(lambda answerer: answerer.objects.version))
        await until(
            lambda: {scene.here.leases.since, scene.here.pods.since} == {newest}, PATIENCE_S
        )
        scene.server.turn(lambda answerer: answerer.objects.forget())
        lists = scene.asked("list", "leases")
        scene.server.turn(lambda answerer: answerer.say(b""))
        await scene.ended()
        await scene.there.announce(node("c"))
        await scene.view(lambda found: found == (node("b"), node("c")))
        assert scene.asked("list", "leases") == lists

    play(kubernetes, case)


def test_what_is_no_event_has_everything_listed_anew(kubernetes: KubernetesServer) -> None:
    async def case(scene: Scene) -> None:
        await scene.there.announce(node("b"))
        await scene.view(lambda found: len(found) == 1)
        for line in (
            b"<html>Bad Gateway</html>\n",
            b'{"type": "ERROR", "object": {"code": 500, "message": "etcd"}}\n',
            b'{"type": "ADDED", "object": 7}\n',
            b'{"type": "NEWS", "object": {"metadata": {}}}\n',
            b'{"code": 401}\n',
        ):
            lists = scene.asked("list", "leases")
            scene.server.turn(lambda answerer, line=line: answerer.say(line))
            await scene.ended()
            assert await scene.here.nodes() == (node("b"),)
            assert scene.asked("list", "leases") == lists + 1

    play(kubernetes, case)


def test_a_silent_watch_is_given_up_and_makes_nobody_look_dead(
    kubernetes: KubernetesServer,
) -> None:
    async def case(scene: Scene) -> None:
        await scene.there.announce(node("b"))
        await scene.view(lambda found: len(found) == 1)
        scene.server.freeze()
        try:
            # A connection that stands, and says nothing: the view stays, then it is known.
            for _ in range(2):
                assert await scene.here.nodes() == (node("b"),)
                scene.runtime.advance(TTL_S / 4)
            scene.runtime.advance(10 * TTL_S)
            await raises(Unavailable, scene.here.nodes())
        finally:
            scene.server.thaw()
        assert await scene.here.nodes() == (node("b"),)

    play(kubernetes, case)


def test_who_hears_nothing_takes_nobody_for_dead(kubernetes: KubernetesServer) -> None:
    async def case(scene: Scene) -> None:
        await scene.there.announce(node("b"))
        await scene.view(lambda found: len(found) == 1)
        for _ in range(10):
            scene.server.turn(lambda answerer: answerer.say(b""))
            await scene.ended()
            scene.runtime.advance(TTL_S / 3)
            assert await scene.here.nodes() == (node("b"),)

    play(kubernetes, case)


def test_the_last_view_stays_while_the_server_is_away(kubernetes: KubernetesServer) -> None:
    async def case(scene: Scene) -> None:
        await scene.there.announce(node("b"))
        await scene.view(lambda found: len(found) == 1)
        membership = Membership(scene.runtime, scene.here, 1.0)
        await membership.refresh()
        scene.server.stop()
        try:
            for _ in range(10):
                scene.runtime.advance(60)
                await membership.refresh()
                assert not membership.reachable
                assert [found.id for found in membership.readers()] == ["b"]
        finally:
            scene.server.start()
        await membership.refresh()
        assert membership.reachable
        assert [found.id for found in membership.readers()] == ["b"]
        await membership.close()

    play(kubernetes, case)


def test_what_has_not_changed_is_written_once_in_a_while(kubernetes: KubernetesServer) -> None:
    async def case(scene: Scene) -> None:
        await scene.here.announce(node("a"))
        await scene.view(lambda found: bool(scene.here.leases.objects))
        written = scene.asked("patch", "leases")
        for _ in range(10):
            scene.runtime.advance(TTL_S / 40)
            await scene.here.announce(node("a"))
        assert scene.asked("patch", "leases") == written
        await scene.here.announce(node("a", leads=(0,)))
        assert scene.asked("patch", "leases") == written + 1
        scene.runtime.advance(TTL_S / 2)
        await scene.here.announce(node("a", leads=(0,)))
        assert scene.asked("patch", "leases") == written + 2

    play(kubernetes, case)


def test_an_entry_that_somebody_removed_is_written_again(kubernetes: KubernetesServer) -> None:
    async def case(scene: Scene) -> None:
        await scene.here.announce(node("a"))
        await scene.view(lambda found: bool(scene.here.leases.objects))
        (name,) = scene.here.leases.objects
        await scene.api.call("DELETE", f"{LEASES}/{name}")
        await scene.view(lambda found: not scene.here.leases.objects)
        await scene.here.announce(node("a"))
        await scene.view(lambda found: bool(scene.here.leases.objects))

    play(kubernetes, case)


def test_entries_of_earlier_processes_of_the_pod_are_removed_and_no_others(
    kubernetes: KubernetesServer,
) -> None:
    async def case(scene: Scene) -> None:
        before = scene.registry("here")
        await before.announce(node("earlier"))
        await before.close()
        await scene.there.announce(node("elsewhere"))
        later = scene.registry("here", FORGET_S / 4)
        for _ in range(15):
            await later.announce(node("a"))
            await later.nodes()
            scene.runtime.advance(FORGET_S / 12)
        await scene.seen.nodes()
        await later.close()
        assert {entry.id for entry in scene.here.leases.objects.values()} == {"a", "elsewhere"}

    play(kubernetes, case)


def test_a_lease_belongs_to_the_pod_of_its_node(kubernetes: KubernetesServer) -> None:
    async def case(scene: Scene) -> None:
        await scene.here.announce(node("a"))
        _, data = await scene.api.call("GET", LEASES)
        (lease,) = json.loads(data)["items"]
        (owner,) = lease["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"]) == ("Pod", "here")
        assert owner["uid"] == scene.here.pods.objects["here"].uid
        assert lease["spec"]["holderIdentity"] == "a"

    play(kubernetes, case)


def test_a_process_in_no_pod_of_the_cluster_is_told_so(kubernetes: KubernetesServer) -> None:
    async def case(scene: Scene) -> None:
        stray = scene.registry("nowhere")
        error = await raises(ConfigError, stray.announce(node("x")))
        assert "no Pod 'nowhere' with the labels app.kubernetes.io/name=mishards" in error.message
        await stray.close()

    play(kubernetes, case)


def test_a_refusal_is_told_with_its_reason(kubernetes: KubernetesServer) -> None:
    async def case(scene: Scene) -> None:
        scene.server.turn(lambda answerer: setattr(answerer, "rules", []))
        try:
            error = await raises(Unavailable, scene.here.nodes())
            assert "refuses with 403: leases.coordination.k8s.io is forbidden" in error.message
        finally:
            scene.server.turn(lambda answerer: setattr(answerer, "rules", None))

    play(kubernetes, case)


@pytest.fixture
def account(tmp_path: Path) -> Path:
    """The folder of a Pod's account, and the certificate of a server of its authority."""
    files = Authority(tmp_path).issue("server", "127.0.0.1")
    Path(files.ca).rename(tmp_path / "ca.crt")
    Path(files.certificate).rename(tmp_path / "server.crt")
    Path(files.key).rename(tmp_path / "server.key")
    (tmp_path / "token").write_text("of the account")
    (tmp_path / "namespace").write_text("mine")
    return tmp_path


@pytest.fixture
def secured(account: Path) -> Iterator[KubernetesServer]:
    """A server that wants the account's token, over TLS."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(account / "server.crt", account / "server.key")
    server = KubernetesServer(account, tls).start()
    server.turn(lambda answerer: setattr(answerer, "token", "of the account"))
    yield server
    server.close()


def test_in_a_pod_its_account_is_used(
    secured: KubernetesServer, account: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(secured.port))

    async def work() -> None:
        api = KubernetesApi(KubernetesUrl(), account=account)
        await api.call("POST", "/api/v1/namespaces", body={"metadata": {"name": "mine"}})
        runtime = SteppedRuntime()
        registry = KubernetesRegistry(KubernetesUrl(), runtime, api=api)
        assert await registry.nodes() == ()
        await registry.close()
        (account / "token").write_text("of somebody else")
        other = KubernetesApi(KubernetesUrl(), account=account)
        error = await raises(Unavailable, other.call("GET", "/api/v1/namespaces"))
        assert "refuses with 401" in error.message
        await other.close()
        await runtime.close()

    asyncio.run(work())


def test_outside_of_a_pod_it_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)

    async def work() -> None:
        for url in (KubernetesUrl(), KubernetesUrl(kubeconfig=str(tmp_path / "none"))):
            api = KubernetesApi(url, account=tmp_path)
            error = await raises(ConfigError, api.call("GET", "/api/v1/namespaces"))
            assert "kubernetes://namespace/cluster?kubeconfig=/path" in error.message
            await api.close()

    asyncio.run(work())
