"""Clients behind nginx and HAProxy, whose files `mishards config` makes of the present topology.

Half of the callers ask once, so that every failure of a call is seen; half are pymilvus as it is,
which asks again where a call was lost with its proxy.
"""

from __future__ import annotations

import itertools
import json
import shlex
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from pymilvus import MilvusException
from typer.testing import CliRunner

import mishards
from mishards.cli.main import app
from mishards.testing.certificates import Authority
from mishards.testing.client_rows import (
    connected,
    contents,
    create,
    insert,
    nearest,
    row,
    vector_of,
)
from mishards.testing.faulty_cluster import FaultyCluster
from mishards.testing.local_cluster import LocalProcess, free_port, wait_for
from mishards.testing.services.balancer import Balancer, HaProxy, Nginx

PROXIES = ("proxy-1", "proxy-2")


class Behind(FaultyCluster):
    """Two proxies that tell their health and drain for as long as they are let."""

    def add_proxies(self) -> None:
        self.health = {name: f"127.0.0.1:{free_port()}" for name in PROXIES}
        self.add("writer-1")
        self.add("reader-1")
        for name, address in self.health.items():
            http = ("http.enabled=true", f"http.port={address.rpartition(':')[2]}")
            settings = (*http, "proxy.linger_s=600")
            self.add(name, *(word for one in settings for word in ("--set", one)))
        for process in self.nodes_by_name.values():
            process.wait_ready()

    def ready(self, name: str) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.health[name]}/readyz", timeout=20) as found:
                return bool(json.loads(found.read())["ready"])
        except urllib.error.HTTPError as error:
            error.close()
        except OSError:
            pass
        return False

    def connections(self, balancer: Balancer, name: str) -> int:
        """From a balancer to the Milvus API of a proxy."""
        port = self._edge(name)
        found = 0
        for pid in balancer.pids:
            with suppress(psutil.Error):
                for one in psutil.Process(pid).net_connections("tcp"):
                    found += bool(one.raddr and one.raddr.port == port)
        return found


class Calls:
    """What callers did.

    Attributes:
        answered: calls by caller.
        acknowledged: the generation of its row, by caller.
        failed_once: errors of those that ask once, by their balancer.
        failed: of those that ask again, and of nobody.
    """

    def __init__(self, balancers: Sequence[Balancer]) -> None:
        self.answered = [0] * (2 * len(balancers))
        self.acknowledged = [0] * (2 * len(balancers))
        self.failed_once: dict[str, list[MilvusException]] = {one.name: [] for one in balancers}
        self.failed: list[Exception] = []

    def go_on(self, more: int = 15) -> None:
        """Wait until every caller has had so many further answers."""
        began = list(self.answered)

        def gone_on() -> bool:
            assert not self.failed
            pairs = zip(self.answered, began, strict=True)
            return all(now - then >= more for now, then in pairs)

        wait_for(gone_on, "calls go on")


@contextmanager
def calling(balancers: Sequence[Balancer]) -> Iterator[Calls]:
    """Behind each balancer one caller that asks once and one that asks again. Each writes a row of
    its own and searches, in turn."""
    calls, stop = Calls(balancers), threading.Event()

    def work(number: int) -> None:
        balancer = balancers[number // 2]
        once: dict[str, Any] = {"retry_times": 0} if number % 2 else {}
        try:
            with connected(uri(balancer)) as client:
                for generation in itertools.count(1):
                    if stop.is_set():
                        return
                    try:
                        client.upsert("rows", [row(number, generation)], **once)
                        calls.acknowledged[number] = generation
                        client.search("rows", [vector_of(7)], limit=3, **once)
                        calls.answered[number] += 1
                    except MilvusException as error:
                        if not once:
                            raise
                        calls.failed_once[balancer.name].append(error)
        except Exception as error:
            calls.failed.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(2 * len(balancers))]
    for thread in threads:
        thread.start()
    try:
        yield calls
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    """Every test leaves both proxies running."""
    with Behind(tmp_path_factory.mktemp("balanced")) as found:
        found.add_proxies()
        with connected(found.uri) as client:
            create(client, "rows")
            insert(client, "rows", range(100))
        yield found
        for name in PROXIES:
            found[name].kill()  # they would wait for balancers that are gone


def configured(balancer: Balancer, *options: str) -> None:
    """Give a balancer the file that the command prints."""
    command = ["config", balancer.name.lower(), *of_its_own(balancer), *options]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    balancer.configure(done.stdout)
    assert not balancer.refusal()


def of_its_own(balancer: Balancer) -> Sequence[str]:
    """Options that say where a balancer is."""
    options = ("--listen", balancer.listen, "--http-listen", balancer.http_listen)
    folder = ("--folder", str(balancer.folder)) if isinstance(balancer, Nginx) else ()
    return (*options, *folder)


@pytest.fixture(scope="module")
def balancers(cluster: Behind, haproxy: HaProxy, nginx: Nginx) -> Iterator[Sequence[Balancer]]:
    """Both, started on files of the registry's proxies; that of nginx is kept as these are."""
    data = ("--data", str(cluster.data))
    for balancer in (haproxy, nginx):
        configured(balancer, *data)
        balancer.start()
    follow = ("--follow", str(nginx.file), "--then", shlex.join(nginx.reload), "--every", "0.2")
    command = ("config", "nginx", *of_its_own(nginx), *data, *follow)
    keeper = LocalProcess("keeper", command, cluster.folder / "keeper.log", cluster.temp)
    yield haproxy, nginx
    keeper.close()


def uri(balancer: Balancer) -> str:
    return f"http://{balancer.listen}"


def test_pymilvus_works_through_both(cluster: Behind, balancers: Sequence[Balancer]) -> None:
    for balancer in balancers:
        name = f"through_{balancer.name.lower()}"
        with connected(uri(balancer)) as client:
            create(client, name)
            big = [row(key) | {"name": "x" * 60} for key in range(10_000)]
            assert client.insert(name, big)["insert_count"] == 10_000
            assert nearest(client, name, vector_of(11), 1) == [11]
            client.drop_collection(name)
        url = f"http://{balancer.http_listen}/readyz"
        with urllib.request.urlopen(url, timeout=20) as answer:
            assert json.loads(answer.read())["node"] in PROXIES


def test_a_killed_proxy_costs_what_was_in_flight_and_a_drained_one_nothing(
    cluster: Behind, balancers: Sequence[Balancer]
) -> None:
    killed, drained = PROXIES
    with calling(balancers) as calls:
        calls.go_on()
        for name in PROXIES:
            used(cluster, balancers, name)
        cluster[killed].kill()
        calls.go_on()
        for errors in calls.failed_once.values():
            assert {error.code for error in errors} <= {grpc.StatusCode.UNAVAILABLE}
            # One was in flight; a next one may meet a socket that the kernel has yet to close.
            assert len(errors) <= 2, errors
            errors.clear()
        cluster.restart(killed).wait_ready()
        used(cluster, balancers, killed)
        drain(cluster, balancers, drained, calls)
        # The one that came back serves everything.
        calls.go_on()
        cluster.restart(drained).wait_ready()
        used(cluster, balancers, drained)
        calls.go_on()
        assert not any(calls.failed_once.values()), calls.failed_once
    assert not calls.failed
    with connected(uri(balancers[0])) as client:
        written = dict(enumerate(calls.acknowledged))
        assert contents(client, "rows") == {**dict.fromkeys(range(100), 0), **written}


def used(cluster: Behind, balancers: Sequence[Balancer], name: str) -> None:
    """Wait until every balancer sends calls to a proxy."""
    for balancer in balancers:
        wait_for(
            lambda balancer=balancer: cluster.connections(balancer, name),  # type: ignore[misc]
            f"{balancer.name} uses {name}",
        )


def drain(cluster: Behind, balancers: Sequence[Balancer], name: str, calls: Calls) -> None:
    """Stop a proxy; HAProxy finds out by itself, nginx is told."""
    haproxy, nginx = balancers
    cluster[name].terminate()
    wait_for(lambda: not cluster.ready(name), f"{name} drains")
    wait_for(lambda: f"Server proxies/{name} is DOWN" in haproxy.output(), "HAProxy saw it")
    wait_for(lambda: not cluster.connections(nginx, name), f"nginx has left {name}")
    calls.go_on()
    cluster[name].terminate()
    assert cluster[name].wait() == 0


@pytest.mark.parametrize("algorithm", ["round_robin", "least_connections", "consistent_hash"])
def test_every_algorithm_makes_a_file_that_is_accepted(
    haproxy: HaProxy, nginx: Nginx, algorithm: str
) -> None:
    for kind in (HaProxy, Nginx):
        balancer = kind()
        try:
            known = ("--proxy", "127.0.0.1:1/2")
            options = ("--proxy", "[::1]:3", "--drain", "proxy-1", "--algorithm", algorithm)
            configured(balancer, *known, *options)
            balancer.configure("upstream { balance }")
            assert balancer.refusal()
        finally:
            balancer.close()


def test_haproxy_asks_by_grpc_where_it_knows_no_http_endpoint(
    cluster: Behind, haproxy: HaProxy
) -> None:
    balancer = HaProxy()
    try:
        with socket.create_server(("127.0.0.1", 0)) as no_proxy:
            addresses = [one.removeprefix("http://") for one in cluster.uris]
            addresses.append(f"127.0.0.1:{no_proxy.getsockname()[1]}")
            configured(balancer, *(word for one in addresses for word in ("--proxy", one)))
            balancer.start()
            wait_for(lambda: "proxies/proxy-3 is DOWN" in balancer.output(), "the check fails")
            with connected(uri(balancer)) as client:
                for _ in range(10):
                    assert nearest(client, "rows", vector_of(7), 1) == [7]
            for name in PROXIES:
                assert f"proxies/{name} is DOWN" not in balancer.output()
    finally:
        balancer.close()


def test_tls_to_clients_and_to_proxies_that_ask_for_a_certificate(
    tmp_path: Path, haproxy: HaProxy, nginx: Nginx
) -> None:
    """HAProxy twice: it asks the HTTP endpoint, and by gRPC within TLS."""
    authority = Authority(tmp_path)
    served, shown = authority.issue("proxy"), authority.issue("balancer")
    both = tmp_path / "both.pem"
    both.write_bytes(Path(shown.certificate).read_bytes() + Path(shown.key).read_bytes())
    tls = ("--certificate", str(both), "--proxy-certificate", str(both))
    tls = (*tls, "--proxy-ca", authority.ca, "--proxy-name", "localhost")
    port, http_port = free_port(), free_port()
    known, unknown = f"127.0.0.1:{port}/{http_port}", f"127.0.0.1:{port}"
    balancers = [HaProxy(), HaProxy(), Nginx()]
    try:
        for balancer, proxy in zip(balancers, (known, unknown, unknown), strict=True):
            configured(balancer, "--proxy", proxy, *tls)
            balancer.start()
        for balancer in balancers[:2]:
            # Without having heard anything, it takes a proxy for one that serves.
            wait_for(lambda one=balancer: "proxies/proxy-1 is DOWN" in one.output(), "it has asked")  # type: ignore[misc]
        options: dict[str, Any] = {
            "proxy__tls_certificate": served.certificate,
            "proxy__tls_key": served.key,
            "proxy__tls_client_ca": authority.ca,
            "proxy__linger_s": 0,
            "http__enabled": True,
            "http__port": http_port,
        }
        with mishards.start(port=port, **options):
            for balancer in balancers[:2]:
                wait_for(lambda one=balancer: "proxies/proxy-1 is UP" in one.output(), "it serves")  # type: ignore[misc]
            for balancer in balancers:
                host = f"https://localhost:{balancer.port}"
                with connected(host, secure=True, server_pem_path=authority.ca) as client:
                    assert client.list_collections() == []
    finally:
        for balancer in balancers:
            balancer.close()
