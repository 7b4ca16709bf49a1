"""What a node lets be done to it, and what it refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from mishards.core.errors import (
    ConfigError,
    InvalidParameter,
    NotReady,
    StorageError,
    Unimplemented,
)
from mishards.core.ids import NodeId
from mishards.core.runtime import SystemRuntime
from mishards.rpc.messages import Drill
from mishards.rpc.messages.drills import LONGEST_S
from mishards.server.config import load_config
from mishards.server.drills import Drills, check_drills
from mishards.storage.layers.cut import CutStore, StorageCut
from mishards.storage.memory import MemoryStore
from mishards.testing.expect import raises


class Noted:
    """Harm that is only written down."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.lack = ""

    def lacks_pause(self) -> str:
        return self.lack

    async def kill(self) -> None:
        self.done.append("killed")

    async def pause(self, seconds: float) -> None:
        self.done.append(f"paused for {seconds:g} s")


def on(main: Callable[[SystemRuntime, StorageCut, Noted, Drills], Awaitable[None]]) -> None:
    """Run with a node's drills, enabled."""

    async def run() -> None:
        runtime = SystemRuntime(threads=1)
        cut, harm = StorageCut(runtime), Noted()
        await main(runtime, cut, harm, Drills(runtime, NodeId("n"), cut, harm))
        await runtime.close()

    asyncio.run(run())


def test_without_the_setting_nothing_is_done() -> None:
    async def main() -> None:
        runtime, harm = SystemRuntime(threads=1), Noted()
        drills = Drills(runtime, NodeId("n"), None, harm)
        for fault in ("none", "kill", "pause"):
            await raises(Unimplemented, drills.begin(Drill(fault=fault, token="t")))
        await runtime.close()
        assert not harm.done

    asyncio.run(main())


def test_a_fault_comes_once_however_often_it_is_asked_for() -> None:
    async def main(_: SystemRuntime, __: StorageCut, harm: Noted, drills: Drills) -> None:
        await drills.begin(Drill(fault="none", token=""))
        for _ in range(2):
            assert (await drills.begin(Drill(fault="kill", token="t", seconds=5.0))).node == "n"
        await asyncio.sleep(0)
        assert harm.done == ["killed"]

    on(main)


def test_one_drill_at_a_time() -> None:
    async def main(_: SystemRuntime, __: StorageCut, harm: Noted, drills: Drills) -> None:
        await drills.begin(Drill(fault="pause", token="t", seconds=50.0))
        await asyncio.sleep(0)
        assert harm.done == ["paused for 50 s"]
        await raises(NotReady, drills.begin(Drill(fault="none", token="")))
        await raises(NotReady, drills.begin(Drill(fault="kill", token="u")))
        await drills.begin(Drill(fault="none", token="t"))
        await drills.begin(Drill(fault="none", token="u"))

    on(main)


def test_what_cannot_be_stopped_says_so() -> None:
    async def main(_: SystemRuntime, __: StorageCut, harm: Noted, drills: Drills) -> None:
        harm.lack = "it is the first process"
        refused = drills.begin(Drill(fault="pause", token="t", seconds=1.0))
        error = await raises(Unimplemented, refused)
        assert "first process" in error.message
        await drills.begin(Drill(fault="kill", token="u"))
        await asyncio.sleep(0)
        assert harm.done == ["killed"]

    on(main)


def test_a_fault_is_bounded() -> None:
    async def main(_: SystemRuntime, __: StorageCut, harm: Noted, drills: Drills) -> None:
        for seconds in (-1.0, LONGEST_S + 1, float("nan")):
            message = Drill(fault="pause", token="t", seconds=seconds)
            await raises(InvalidParameter, drills.begin(message))
        assert not harm.done

    on(main)


def test_storage_fails_until_the_drill_ends() -> None:
    async def main(_: SystemRuntime, cut: StorageCut, __: Noted, drills: Drills) -> None:
        store = CutStore(MemoryStore(), cut)
        await store.create("a", b"1")
        await drills.begin(Drill(fault="fail_storage", token="t", seconds=50.0))
        await raises(StorageError, store.get("a"))
        await raises(StorageError, store.create("b", b"2"))
        await raises(StorageError, store.list(""))
        await drills.begin(Drill(fault="none", token="t"))
        assert await store.get("a") == b"1"

    on(main)


def test_storage_stands_still_until_the_drill_ends() -> None:
    async def main(_: SystemRuntime, cut: StorageCut, __: Noted, drills: Drills) -> None:
        store = CutStore(MemoryStore(), cut)
        await drills.begin(Drill(fault="stall_storage", token="t", seconds=50.0))
        writing = asyncio.ensure_future(store.create("a", b"1"))
        await asyncio.sleep(0)
        assert not writing.done()
        await drills.begin(Drill(fault="none", token="t"))
        await writing
        assert await store.get("a") == b"1"

    on(main)


def test_a_cut_ends_by_itself() -> None:
    async def main(_: SystemRuntime, cut: StorageCut, __: Noted, ___: Drills) -> None:
        store = CutStore(MemoryStore(), cut)
        cut.begin(0.01, stalls=True)
        await store.create("a", b"1")
        assert await store.get_all(["a", "b"]) == [b"1", None]

    on(main)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"node.listen": "unix:///x/y.sock"},
        {"node.listen": "tcp://localhost:0"},
        {"node.listen": "tcp://0.0.0.0:7000", "cluster.secret": "hush"},
        {"node.listen": "tcp://0.0.0.0:7000", "cluster.tls_certificate": "/c.pem"},
        {"node.listen": "tcp://0.0.0.0:7000", "cluster.drills": "false"},
    ],
)
def test_a_node_may_take_drills_of_its_own_machine_or_of_who_is_known(
    settings: dict[str, str],
) -> None:
    options = {"cluster.drills": "true", **settings}
    check_drills(load_config(options=options, environ={}).config)


@pytest.mark.parametrize("listen", ["tcp://0.0.0.0:7000", "tcp://10.0.0.7:7000", "tcp://db:7000"])
def test_a_node_that_strangers_reach_takes_none(listen: str) -> None:
    options = {"cluster.drills": "true", "node.listen": listen}
    with pytest.raises(ConfigError, match=r"cluster\.secret"):
        check_drills(load_config(options=options, environ={}).config)
