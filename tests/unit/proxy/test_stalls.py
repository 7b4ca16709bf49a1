"""A reader that answers nothing is given up; one that only works long is waited for."""

import asyncio

import msgspec
import pytest

from mishards.core.errors import MishardsError, Unavailable
from mishards.core.runtime import SystemRuntime
from mishards.discovery.protocol import NodeInfo
from mishards.proxy.assignment import Assignment
from mishards.proxy.config import ProxyConfig
from mishards.proxy.hedging import HedgeClock
from mishards.proxy.scatter import Scatter
from mishards.rpc.messages import NodeStatus, StatusReply, UnitFailure

UNITS = (1, 2)


class Asked(msgspec.Struct, frozen=True):
    units: tuple[int, ...]


class Partial(msgspec.Struct, frozen=True):
    node: str
    failures: tuple[UnitFailure, ...] = ()


class Cluster:
    """Membership and transport over readers, each a function of the message."""

    version = 1

    def __init__(self, **readers):
        self.readers = readers
        self.nodes = tuple(NodeInfo(id=n, roles=("reader",), address=n) for n in readers)
        self.suspected = []
        self.asked = []

    @property
    def view(self):
        return self

    def suspect(self, node, seconds):
        self.suspected.append(node)

    def channel(self, address):
        cluster = self

        class Channel:
            def begin(self, message, *, timeout_s, traceparent=""):
                return None

            async def call(self, message, *, timeout_s, traceparent=""):
                cluster.asked.append((address, type(message).__name__))
                try:
                    async with asyncio.timeout(timeout_s):
                        return await cluster.readers[address](message)
                except TimeoutError:
                    raise Unavailable(f"{address} did not answer") from None

        return Channel()


async def frozen(message):
    await asyncio.Event().wait()


async def quick(message):
    return Partial("quick")


def busy(done: asyncio.Event):
    """Answers how it is, and its work once it has been asked how it is three times."""
    times = 0

    async def answer(message):
        nonlocal times
        if isinstance(message, NodeStatus):
            times += 1
            if times == 3:
                done.set()
            return StatusReply(node="a", roles=("reader",), version=1)
        await done.wait()
        return Partial("busy")

    return answer


async def scattered(cluster, hedge, preferences=("a", "b")):
    """The answers of a read that has to be complete."""
    gathered = await gathered_by(cluster, hedge, dict.fromkeys(UNITS, preferences))
    assert gathered.missing == {}
    return gathered.served


async def gathered_by(cluster, hedge, preferences, *, partial=False):
    config = ProxyConfig(stall_s=0.01, hedge=hedge, hedge_budget=0.0)
    assignment = Assignment(preferences, UNITS)
    runtime = SystemRuntime(seed=1, threads=1)
    try:
        scatter = Scatter(
            runtime,
            cluster,
            cluster,
            config,
            HedgeClock(config),
            assignment,
            lambda units: Asked(tuple(units)),
            runtime.monotonic_s() + 0.5,
            partial=partial,
        )
        return await scatter.run()
    finally:
        await runtime.close()


@pytest.mark.parametrize("hedge", [True, False])
def test_a_reader_that_stands_still_is_given_up_without_a_hedge(hedge):
    cluster = Cluster(a=frozen, b=quick)
    ((units, partial),) = asyncio.run(scattered(cluster, hedge))
    assert (tuple(units), partial.node) == (UNITS, "quick")
    assert cluster.suspected == ["a"]
    assert cluster.asked == [("a", "Asked"), ("a", "NodeStatus"), ("b", "Asked")]


def test_a_reader_that_works_long_is_waited_for():
    async def main():
        cluster = Cluster(a=busy(asyncio.Event()), b=quick)
        return cluster, await scattered(cluster, True)

    cluster, ((_, partial),) = asyncio.run(main())
    assert partial.node == "busy"
    assert cluster.suspected == []
    assert ("b", "Asked") not in cluster.asked


def test_without_another_reader_nobody_is_asked_how_it_is():
    cluster = Cluster(a=frozen)
    with pytest.raises(MishardsError):
        asyncio.run(scattered(cluster, True, preferences=("a",)))
    assert cluster.asked == [("a", "Asked")]


def test_a_reader_that_stands_still_is_left_out_of_a_partial_answer():
    cluster = Cluster(a=frozen, b=quick)
    preferences = {1: ("a",), 2: ("b",)}
    gathered = asyncio.run(gathered_by(cluster, True, preferences, partial=True))
    assert [list(units) for units, _ in gathered.served] == [[2]]
    assert "stands still" in str(gathered.missing[1])
