"""DDL with tokens: applied once, by whichever leader."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from mishards.core import errors
from mishards.core.ids import MetadataVersion, Timestamp
from mishards.metadata.models import DatabaseMeta, encode
from mishards.metadata.protocol import Changes
from mishards.metadata.snapshot import MetadataSnapshot
from mishards.rpc import messages as m
from mishards.testing.writer_bench import ask, bench_open, make_schema
from mishards.writer import ddl_once as module
from mishards.writer.ddl_once import ddl_once


class World:
    """Metadata that messages with tokens change."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self.snapshot = MetadataSnapshot.empty()
        self._apply((DatabaseMeta(id=self.fresh(), name="default"),), ())

    def fresh(self) -> Any:
        return Timestamp(next(self._numbers))

    def do(self, number: int, ddl: m.Ddl) -> bool:
        """Apply a DDL under a token; whether it changed anything."""
        message = m.DdlOnce(token=number.to_bytes(16), ddl=ddl)
        edit = ddl_once(self.snapshot, message, self.fresh)
        if not edit.is_empty:
            self._apply(edit.puts, edit.deletes)
        return not edit.is_empty

    def _apply(self, puts: Any, deletes: Any) -> None:
        since = self.snapshot.version
        records = tuple((record.key, encode(record)) for record in puts)
        version = MetadataVersion(since + 1)
        self.snapshot = self.snapshot.apply(Changes(since, version, records, deletes))


CREATE = m.CreateCollection(database="", schema=make_schema("c"))
DROP = m.DropCollection(database="", name="c")
RENAME = m.RenameCollection(database="", name="c", new_database="", new_name="d")


def test_a_repeated_ddl_changes_nothing_and_is_no_error() -> None:
    world = World()
    assert world.do(1, CREATE)
    assert world.do(2, RENAME)
    assert not world.do(2, RENAME)
    with pytest.raises(errors.CollectionNotFound):
        world.do(3, RENAME)


def test_a_repeated_ddl_leaves_alone_what_others_did_meanwhile() -> None:
    world = World()
    assert world.do(1, CREATE)
    assert world.do(2, DROP)
    assert world.do(3, CREATE)
    assert not world.do(2, DROP)
    assert world.snapshot.find("", "c") is not None
    assert not world.do(1, CREATE)


def test_what_changed_nothing_is_decided_anew() -> None:
    world = World()
    assert not world.do(1, DROP)
    assert world.do(2, CREATE)
    assert world.do(1, DROP)


def test_what_was_refused_is_decided_anew() -> None:
    world = World()
    with pytest.raises(errors.CollectionNotFound):
        world.do(1, RENAME)
    world.do(2, CREATE)
    assert world.do(1, RENAME)


def test_the_ddls_done_longest_ago_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_REMEMBERED", 3)
    world = World()
    for number in range(6):
        assert world.do(number, m.CreateDatabase(name=f"d{number}"))
    assert set(world.snapshot.ddls) == {number.to_bytes(16).hex() for number in (3, 4, 5)}
    assert not world.do(3, m.CreateDatabase(name="d3"))
    with pytest.raises(errors.InvalidParameter):
        world.do(0, m.CreateDatabase(name="d0"))


def test_the_next_leader_knows_what_was_done() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer = await bench.writer()
            await bench.collection(writer, make_schema("c"))
            rename = m.DdlOnce(token=bytes(16), ddl=RENAME)
            first = await ask(writer, rename)
            # Nothing is closed: the answer was lost with the leader.
            again = await bench.writer("w2")
            second = await ask(again, rename)
            assert second.version >= first.version
            assert (await bench.view("d")).name == "d"
            assert (await ask(again, rename)).version == second.version

    asyncio.run(scene())


def test_ids_stay_greater_than_any_time_at_which_a_ddl_was_done() -> None:
    async def scene() -> None:
        async with bench_open() as bench:
            writer = await bench.writer()
            await ask(writer, m.DdlOnce(token=bytes(16), ddl=m.CreateDatabase(name="x")))
            bench.runtime.now_ms = lambda: 1  # type: ignore[method-assign]
            again = await bench.writer("w2")
            await ask(again, m.DdlOnce(token=b"1" * 16, ddl=m.CreateDatabase(name="y")))
            ddls = (await bench.snapshot()).ddls
            assert ddls[bytes(16).hex()] < ddls[(b"1" * 16).hex()]

    asyncio.run(scene())
