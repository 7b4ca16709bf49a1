"""Calls to a leader that dies while it answers: repeated where that is safe, and only there."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from mishards.cluster.membership import Membership
from mishards.core.errors import (
    CorruptObject,
    DiskFull,
    MishardsError,
    StorageError,
    Unavailable,
    Unreachable,
)
from mishards.core.ids import LogId, MetadataVersion, NodeId
from mishards.discovery.memory import MemoryRegistry
from mishards.discovery.protocol import NodeInfo
from mishards.proxy.leader import LeaderClient
from mishards.rpc import messages as m
from mishards.testing.clock import VirtualRuntime, run_virtual

LOG = LogId(0)
DONE = m.Committed(version=MetadataVersion(7))
ONCE = m.DdlOnce(token=b"t" * 16, ddl=m.DropCollection(database="", name="c"))
WRITE = m.Write(token=b"t" * 16, collection=cast(Any, 1), partition=cast(Any, 2))
REPORT = m.ReportDamage(collection=cast(Any, 1), segment=cast(Any, 2), name="x")


class Peers:
    """A transport to nodes of which those in `dying` end without an answer."""

    def __init__(self) -> None:
        self.dying: dict[str, Exception] = {}
        self.asked: list[tuple[str, m.Message]] = []

    def channel(self, address: str) -> Any:
        peers = self

        class Way:
            async def call(
                self, message: m.Message, *, timeout_s: float, traceparent: str = ""
            ) -> m.Reply:
                peers.asked.append((address, message))
                if address in peers.dying:
                    raise peers.dying[address]
                return DONE

        return Way()


def run(dying: Exception, message: m.Message) -> tuple[Peers, m.Reply | Exception]:
    """Ask a cluster whose first leader dies, and whose second is announced."""
    peers = Peers()
    peers.dying["old"] = dying

    async def scene() -> m.Reply | Exception:
        runtime = VirtualRuntime("leader")
        registry = MemoryRegistry(runtime, ttl_s=60.0)
        membership = Membership(runtime, registry, 0.5)
        for epoch, name in ((1, "old"), (2, "new")):
            await registry.announce(
                NodeInfo(
                    id=NodeId(name), roles=("writer",), address=name, leads=(LOG,), epochs=(epoch,)
                )
            )
            if name == "old":
                await membership.refresh()
        client = LeaderClient(runtime, cast(Any, peers), membership, LOG)
        try:
            return await client.call(message, 10.0)
        except MishardsError as error:
            return error
        finally:
            await membership.close()

    return peers, asyncio.run(scene())


@pytest.mark.parametrize("error", [Unavailable("broke"), Unreachable("refused")])
def test_a_ddl_is_asked_of_the_next_leader_with_its_token(error: Exception) -> None:
    peers, answer = run(error, ONCE)
    assert answer == DONE
    assert peers.asked == [("old", ONCE), ("new", ONCE)]


def test_what_has_no_token_is_repeated_only_where_it_was_never_taken() -> None:
    peers, answer = run(Unreachable("refused"), REPORT)
    assert answer == DONE
    assert peers.asked == [("old", REPORT), ("new", REPORT)]
    peers, answer = run(Unavailable("broke"), REPORT)
    assert isinstance(answer, Unavailable)
    assert peers.asked == [("old", REPORT)]


def test_a_write_that_storage_failed_is_asked_of_the_next_leader_with_its_token() -> None:
    peers, answer = run(StorageError("fsync failed"), WRITE)
    assert answer == DONE
    assert peers.asked == [("old", WRITE), ("new", WRITE)]
    for error, message in (
        (StorageError("fsync failed"), m.Flush(collections=())),
        (CorruptObject("damaged"), WRITE),
        (DiskFull("no space left"), WRITE),
    ):
        peers, answer = run(error, message)
        assert (answer, len(peers.asked)) == (error, 1)


def test_storage_that_stays_away_is_named_in_the_end() -> None:
    async def scene() -> None:
        runtime = VirtualRuntime("leader")
        registry = MemoryRegistry(runtime, ttl_s=60.0)
        membership = Membership(runtime, registry, 0.5)
        peers = Peers()
        peers.dying["old"] = StorageError("input/output error")
        node = NodeInfo(id=NodeId("old"), roles=("writer",), address="old", leads=(LOG,))
        await registry.announce(node)
        client = LeaderClient(runtime, cast(Any, peers), membership, LOG)
        with pytest.raises(StorageError, match="input/output error"):
            await client.call(WRITE, 60.0)
        assert runtime.monotonic_s() < 7.0
        assert {message for _, message in peers.asked} == {WRITE}
        await membership.close()

    run_virtual(scene())


def test_writers_that_cannot_lead_are_asked_why() -> None:
    async def scene() -> None:
        runtime = VirtualRuntime("leader")
        registry = MemoryRegistry(runtime, ttl_s=60.0)
        membership = Membership(runtime, registry, 0.5)
        peers = Peers()
        peers.dying["w"] = StorageError("stands by: input/output error")
        await registry.announce(NodeInfo(id=NodeId("w"), roles=("writer",), address="w"))
        client = LeaderClient(runtime, cast(Any, peers), membership, LOG)
        with pytest.raises(StorageError, match="input/output error"):
            await client.call(WRITE, 60.0)
        assert 5.0 < runtime.monotonic_s() < 7.0
        await membership.close()

    run_virtual(scene())
