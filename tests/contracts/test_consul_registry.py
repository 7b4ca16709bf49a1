"""What only Consul can do wrong, on a server that answers as it does; the rest is in the suites."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from mishards.core.errors import LeaseTaken, Unavailable
from mishards.core.ids import LogId, NodeId
from mishards.discovery.consul import ConsulRegistry
from mishards.discovery.election import NOBODY, Lease
from mishards.discovery.election_consul import ConsulElection
from mishards.testing.certificates import Authority
from mishards.testing.consul_server import ConsulServer
from mishards.testing.expect import raises
from mishards.testing.registry_contract import hears_of_each, names, node, passes
from mishards.testing.stepped import SteppedRuntime
from mishards.testing.waiting import until

TTL_S = 30.0
"""Long, so that the machine's own pauses silence nobody."""
LOG = LogId(0)
ONE, TWO = NodeId("one"), NodeId("two")

Case = Callable[[SteppedRuntime], Awaitable[None]]


class Shifted:
    """The machine's monotonic clock, further on by what a test says."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead_s


@pytest.fixture
def clock() -> Shifted:
    return Shifted()


@pytest.fixture
def server(clock: Shifted) -> Iterator[ConsulServer]:
    with ConsulServer(clock) as found:
        yield found


def play(case: Case) -> None:
    async def main() -> None:
        runtime = SteppedRuntime()
        try:
            await case(runtime)
        finally:
            await runtime.close()

    asyncio.run(main())


def pass_time(server: ConsulServer, clock: Shifted, seconds: float) -> None:
    """Let time pass for Consul alone, in steps between which it looks."""
    for _ in range(2):
        clock.ahead_s += seconds / 2
        with server.lock:
            server.state.pass_time()
    clock.ahead_s += 1  # the agent tells the servers
    with server.lock:
        server.state.pass_time()


def test_who_fell_silent_stays_for_a_while_and_comes_back_with_the_next_beat(
    server: ConsulServer, clock: Shifted
) -> None:
    async def case(runtime: SteppedRuntime) -> None:
        one = ConsulRegistry(server.database("x"), runtime, ttl_s=TTL_S)
        other = ConsulRegistry(server.database("x"), runtime, ttl_s=TTL_S)
        await one.announce(node("a"))
        assert await names(other) == ["a"]
        pass_time(server, clock, TTL_S)
        for _ in range(2):
            assert await names(other) == ["a"]
            await passes(runtime, TTL_S / 3)
        await one.announce(node("a"))
        pass_time(server, clock, 0)
        for _ in range(6):
            await one.announce(node("a"))
            assert await names(other) == ["a"]
            await passes(runtime, TTL_S / 3)
        pass_time(server, clock, TTL_S)
        gone = []
        for _ in range(4):
            gone.append(await names(other))
            one._renewals.renewed(NodeId("a"))  # its process lives on and cannot reach Consul
            await passes(runtime, TTL_S / 3)
        assert gone == [["a"], ["a"], [], []]
        await one.close()
        await other.close()

    play(case)


def test_a_blocking_query_tells_of_every_change_and_goes_on_after_an_outage(
    server: ConsulServer,
) -> None:
    async def case(runtime: SteppedRuntime) -> None:
        one, other = (
            ConsulRegistry(server.database("x"), runtime.apart(name), ttl_s=TTL_S)
            for name in ("one", "other")
        )
        await hears_of_each(other, one)
        waiting = asyncio.ensure_future(other.changed())
        server.stop()
        await until(lambda: runtime.sleepers > 1, 30)  # besides the watch over renewals
        server.start()
        await one.withdraw(NodeId("a"))
        runtime.advance(1)
        await asyncio.wait_for(waiting, 30)
        assert await names(other) == ["b", "c"]
        await one.close()
        await other.close()

    play(case)


def test_an_agent_that_forgot_is_told_again(server: ConsulServer) -> None:
    async def case(runtime: SteppedRuntime) -> None:
        registry = ConsulRegistry(server.database("x"), runtime, ttl_s=TTL_S)
        await registry.announce(node("a"))
        with server.lock:
            server.state.deregister("x:a")
        await registry.announce(node("a"))
        assert await names(registry) == ["a"]
        await registry.close()

    play(case)


def test_indexes_that_fall_hide_nothing(server: ConsulServer) -> None:
    async def case(runtime: SteppedRuntime) -> None:
        one, other = (ConsulRegistry(server.database("x"), runtime, ttl_s=TTL_S) for _ in range(2))
        for name in "abc":
            await one.announce(node(name))
        assert await names(other) == ["a", "b", "c"]
        with server.lock:
            server.state.restore(5)
        await one.announce(node("b", ready=False))
        await one.withdraw(NodeId("c"))
        assert await other.nodes() == (node("a"), node("b", ready=False))
        await one.close()
        await other.close()

    play(case)


def test_while_nothing_changes_a_beat_is_one_word_and_a_look_another(server: ConsulServer) -> None:
    async def case(runtime: SteppedRuntime) -> None:
        registry = ConsulRegistry(server.database("x"), runtime, ttl_s=TTL_S)
        await registry.announce(node("a"))
        await registry.nodes()
        before = len(server.requests), server.state.index
        for _ in range(2):
            await registry.announce(node("a"))
            assert await names(registry) == ["a"]
        assert [path for _, path in server.requests[before[0] :]] == [
            "/v1/agent/check/pass/x%3Aa%3Attl",
            "/v1/health/service/x",
        ] * 2
        assert server.state.index == before[1]
        await registry.close()

    play(case)


def test_a_node_that_has_much_to_say_is_read_back(server: ConsulServer) -> None:
    async def case(runtime: SteppedRuntime) -> None:
        registry = ConsulRegistry(server.database("x"), runtime, ttl_s=TTL_S)
        much = msgspec.structs.replace(
            node("wörter", leads=tuple(range(64))), epochs=tuple(range(10**6, 10**6 + 64))
        )
        await registry.announce(much)
        assert await registry.nodes() == (much,)
        with server.lock:
            (listed,) = server.state.catalog.values()
        assert len(listed.service["Meta"]) > 1
        await registry.close()

    play(case)


@pytest.mark.parametrize("meta", [{}, {"node-0": '{"id": 7}'}, {"node-0": "no JSON"}])
def test_an_instance_that_cannot_be_read_hides_no_other(
    server: ConsulServer, meta: dict[str, str]
) -> None:
    async def case(runtime: SteppedRuntime) -> None:
        registry = ConsulRegistry(server.database("x"), runtime, ttl_s=TTL_S)
        with server.lock:
            server.state.register({"ID": "odd", "Name": "x", "Meta": meta})
        await registry.announce(node("a"))
        assert await names(registry) == ["a"]
        await registry.close()

    play(case)


def test_of_two_agents_instances_of_a_node_the_last_one_counts(server: ConsulServer) -> None:
    async def case(runtime: SteppedRuntime) -> None:
        registry = ConsulRegistry(server.database("x"), runtime, ttl_s=TTL_S)
        await registry.announce(node("a", ready=False))
        with server.lock:
            (before,) = server.state.catalog.values()
        await registry.announce(node("a"))
        with server.lock:
            server.state.catalog["on another agent"] = before
            server.state.service_index["x"] = server.state.raise_index()
        assert await registry.nodes() == (node("a"),)
        await registry.close()

    play(case)


def test_a_token_is_sent_and_not_told(server: ConsulServer) -> None:
    async def case(runtime: SteppedRuntime) -> None:
        server.token = "a secret"
        url = f"consul://token:a%20secret@127.0.0.1:{server.port}/x"
        registry = ConsulRegistry(url, runtime, ttl_s=TTL_S)
        await registry.announce(node("a"))
        assert await names(registry) == ["a"]
        stranger = ConsulRegistry(url.replace("secret", "guess"), runtime, ttl_s=TTL_S)
        error = await raises(Unavailable, stranger.nodes())
        assert "its ACL does not allow it" in error.message
        assert "guess" not in error.message
        await registry.close()
        await stranger.close()

    play(case)


def test_a_lease_whose_session_was_ended_is_nobodys(server: ConsulServer) -> None:
    async def case(runtime: SteppedRuntime) -> None:
        one, two = (ConsulElection(server.database("x"), runtime) for _ in range(2))
        held = await one.swap(await one.look(LOG), ONE)
        assert await two.look(LOG) == held
        with server.lock:
            server.state.destroy_session(one._session)
        free = Lease(log_id=LOG, holder=NOBODY, beat=held.beat)
        assert await two.look(LOG) == free
        taken = await two.swap(free, TWO)
        assert (taken.holder, taken.beat) == (TWO, held.beat + 1)
        await raises(LeaseTaken, one.swap(held, ONE))
        assert await one.look(LOG) == taken
        back = await one.swap(taken, ONE)  # with a new session, and the lock taken from the other
        assert await two.look(LOG) == back
        await one.close()
        await two.close()

    play(case)


def test_a_session_lives_by_renewals_and_its_end_ends_the_lease(
    server: ConsulServer, clock: Shifted
) -> None:
    async def case(runtime: SteppedRuntime) -> None:
        one, two = (ConsulElection(server.database("x"), runtime) for _ in range(2))
        held = await one.swap(await one.look(LOG), ONE)
        for _ in range(5):
            runtime.advance(4)
            clock.ahead_s += 4
            held = await one.swap(held, ONE)
        assert await two.look(LOG) == held
        pass_time(server, clock, 20)
        assert (await two.look(LOG)).holder == NOBODY
        await one.close()
        await two.close()

    play(case)


def test_a_lock_is_held_by_who_holds_the_lease_and_by_nobody_else(server: ConsulServer) -> None:
    async def case(runtime: SteppedRuntime) -> None:
        one, two = (ConsulElection(server.database("x"), runtime) for _ in range(2))

        def lock() -> str:
            entry = server.state.keys.get("x/lease/0")
            assert entry is not None
            return entry.session

        held = await one.swap(await one.look(LOG), ONE)
        assert lock() == one._session != ""
        taken = await two.swap(held, TWO)
        assert lock() == two._session
        await two.swap(taken, NOBODY, ONE)
        assert lock() == ""
        await one.close()
        await two.close()

    play(case)


def test_a_lock_that_is_kept_back_leaves_the_lease_as_it_is(
    server: ConsulServer, clock: Shifted
) -> None:
    async def case(runtime: SteppedRuntime) -> None:
        election = ConsulElection(server.database("x"), runtime)
        held = await election.swap(await election.look(LOG), ONE)
        with server.lock:
            session = server.state.sessions[election._session]
            session.delay_s = 15.0
            server.state.destroy_session(election._session)
        free = await election.look(LOG)
        error = await raises(Unavailable, election.swap(free, ONE))
        assert "lock delay" in error.message
        assert await election.look(LOG) == free
        clock.ahead_s += 15
        assert (await election.swap(free, ONE)).beat == held.beat + 1
        await election.close()

    play(case)


def test_tls_checks_the_agent_and_shows_a_certificate_of_the_node(tmp_path: Path) -> None:
    mine, other = Authority(tmp_path, "mine").issue(), Authority(tmp_path, "other").ca
    ca, pem, key = mine.ca, mine.certificate, mine.key
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key)
    context.load_verify_locations(ca)
    context.verify_mode = ssl.CERT_REQUIRED

    async def case(runtime: SteppedRuntime) -> None:
        url = server.database("x")
        registry = ConsulRegistry(f"{url}?ca={ca}&cert={pem}&key={key}", runtime, ttl_s=TTL_S)
        await registry.announce(node("a"))
        assert await names(registry) == ["a"]
        for options in ("", f"?ca={ca}", f"?ca={other}&cert={pem}&key={key}"):
            stranger = ConsulRegistry(url + options, runtime, ttl_s=TTL_S)
            await raises(Unavailable, stranger.nodes())
            await stranger.close()
        await registry.close()

    with ConsulServer(tls=context) as server:
        play(case)
