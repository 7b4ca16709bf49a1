"""What only etcd can do wrong as a metadata store; the rest is in the contract suite."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest
import requests

from mishards.core.errors import DataInUse, MetadataConflict, MetadataUnavailable, Unavailable
from mishards.core.ids import Epoch, LogId, MetadataVersion
from mishards.core.runtime import SystemRuntime
from mishards.metadata import etcd_writes
from mishards.metadata.etcd import EtcdMetadataStore
from mishards.metadata.etcd_keys import EtcdKeys
from mishards.storage.etcd_client import IDLE_S, EtcdClient
from mishards.storage.etcd_errors import Compacted, InvalidRequest
from mishards.storage.etcd_requests import after, put, read
from mishards.storage.etcd_url import parse_etcd_url
from mishards.testing.expect import raises
from mishards.testing.local_cluster import wait_for
from mishards.testing.services.etcd import Etcd, joined

LOG, FIRST = LogId(0), Epoch(1)
MANY = {f"segment/1/{number}": b"%d" % number for number in range(250)}
"""More records than one transaction takes."""

Case = Callable[[EtcdMetadataStore, EtcdMetadataStore], Awaitable[None]]


@pytest.fixture
def url(etcd: Etcd) -> str:
    return etcd.database(f"t{uuid4().hex}")


def run(url: str, case: Case) -> None:
    """The case on two handles of a store with one record, at version 1."""

    async def main() -> None:
        runtime = SystemRuntime(threads=4)
        stores = [EtcdMetadataStore(url, runtime) for _ in range(2)]
        try:
            await stores[0].open("one")
            await stores[0].begin_epoch(LOG, FIRST)
            await commit(stores[0], 1, {"a": b"1"})
            await case(*stores)
        finally:
            for store in stores:
                await store.close()
            await runtime.close()

    asyncio.run(main())


async def commit(store: EtcdMetadataStore, version: int, puts: dict[str, bytes]) -> None:
    await store.commit(LOG, FIRST, MetadataVersion(version - 1), puts)


async def state(store: EtcdMetadataStore) -> tuple[int, dict[str, bytes]]:
    found = await store.changes(MetadataVersion(0))
    return found.version, dict(found.puts)


class Failing:
    """Lets the writes of a handle fail from one on, before or after their effect."""

    def __init__(self, store: EtcdMetadataStore, after_writes: int, *, done: bool) -> None:
        self.calls = 0
        self._write = store._client.write
        self._limit = after_writes
        self._done = done
        store._client.write = self  # type: ignore[method-assign]

    def __call__(self, *args: Any) -> Any:
        self.calls += 1
        if self.calls < self._limit:
            return self._write(*args)
        if self._done and self.calls == self._limit:
            self._write(*args)
        raise Unavailable("cut off here")


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
def test_a_large_commit_that_breaks_off_anywhere_is_whole_or_nothing(
    etcd: Etcd, done: bool
) -> None:
    whole = []

    async def case(store: EtcdMetadataStore, other: EtcdMetadataStore) -> None:
        failing = Failing(store, 1 + len(whole), done=done)
        old, new = (1, {"a": b"1"}), (2, {"a": b"1", **MANY})
        try:
            await commit(store, 2, MANY)
        except MetadataUnavailable:
            pass
        else:
            assert await state(other) == new
        found = await state(other)
        assert found in (old, new)
        whole.append((found == new, failing.calls))
        if found == old:
            await commit(other, 2, MANY)
        # Whoever comes next finishes what was left.
        await commit(other, 3, {"segment/1/0": b"newer"})
        assert await state(other) == (3, {"a": b"1", **MANY, "segment/1/0": b"newer"})
        since = await other.changes(MetadataVersion(1))
        assert dict(since.puts) == {**MANY, "segment/1/0": b"newer"}

    while len(whole) < 30 and not (whole and whole[-1][1] < len(whole)):
        run(etcd.database(f"t{uuid4().hex}"), case)
    outcomes = [new for new, _ in whole]
    assert outcomes[0] is False
    assert outcomes == sorted(outcomes)
    assert outcomes.count(True) > 3


def test_what_a_lost_attempt_staged_goes_with_its_version(url: str) -> None:
    async def case(store: EtcdMetadataStore, other: EtcdMetadataStore) -> None:
        Failing(store, 2, done=False)  # the parts are staged, the version is not raised
        await raises(MetadataUnavailable, commit(store, 2, MANY))
        assert staged(url) == 1
        await commit(other, 2, {"b": b"2"})
        await commit(other, 3, {"c": b"3"})
        await other.prune(MetadataVersion(1))
        assert staged(url) == 1
        await other.prune(MetadataVersion(2))
        assert staged(url) == 0
        assert await state(other) == (3, {"a": b"1", "b": b"2", "c": b"3"})

    run(url, case)


def test_who_loses_a_large_commit_leaves_nothing_behind(url: str) -> None:
    async def case(store: EtcdMetadataStore, other: EtcdMetadataStore) -> None:
        await commit(other, 2, {"b": b"2"})
        await raises(MetadataConflict, commit(store, 2, MANY))
        await raises(MetadataConflict, store.commit(LOG, Epoch(7), MetadataVersion(2), dict(MANY)))
        assert staged(url) == 0
        assert await state(other) == (2, {"a": b"1", "b": b"2"})

    run(url, case)


def test_old_changes_are_forgotten_by_themselves(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(etcd_writes, "HISTORY", 20)
    monkeypatch.setattr(etcd_writes, "TRIM_EVERY", 10)

    async def case(store: EtcdMetadataStore, other: EtcdMetadataStore) -> None:
        for version in range(2, 46):
            await commit(store, version, {"a": b"%d" % version})
        assert await state(other) == (45, {"a": b"45"})
        assert (await other.changes(MetadataVersion(19))).since == 0
        assert (await other.changes(MetadataVersion(20))).since == 20

    run(url, case)


def test_a_read_that_is_compacted_meanwhile_begins_again(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def case(store: EtcdMetadataStore, other: EtcdMetadataStore) -> None:
        scan, calls = EtcdClient.scan, []

        def compacted_once(self: EtcdClient, *args: Any, **named: Any) -> Any:
            calls.append(1)
            if len(calls) == 1:
                raise Compacted("compacted")
            return scan(self, *args, **named)

        monkeypatch.setattr(EtcdClient, "scan", compacted_once)
        assert await state(other) == (1, {"a": b"1"})
        assert len(calls) == 2

    run(url, case)


def test_etcd_says_that_a_revision_is_compacted(url: str) -> None:
    client = EtcdClient(parse_etcd_url(url), time.monotonic)
    key = b"elsewhere" + uuid4().hex.encode()
    old = client.write([], [put(key, b"1")]).revision
    newer = client.write([], [put(key, b"2")]).revision
    assert client.read(read(key, revision=old)).ranges[0][0].value == b"1"
    gateway = client._connect(0)
    gateway.post(gateway.get_url("kv/compaction"), json={"revision": str(newer)})
    gateway.session.close()
    with pytest.raises(Compacted, match="compacted"):
        client.read(read(key, revision=old))
    with pytest.raises(InvalidRequest, match=r"too large|larger than"):
        client.write([], [put(key, bytes(3_000_000))])
    with pytest.raises(InvalidRequest, match="too many operations"):
        client.write([], [put(b"%d" % number, b"") for number in range(200)])
    client.close()


def test_a_connection_that_rested_for_long_is_not_used_again(url: str) -> None:
    now_s = [0.0]
    client = EtcdClient(parse_etcd_url(url), lambda: now_s[0])
    used = []
    for passed_s in (0.0, IDLE_S / 2, IDLE_S - 1, IDLE_S + 1):
        now_s[0] += passed_s
        client.read(read(b"key"))
        used.append(client._idle[0][0][1])
        assert len(client._idle[0]) == 1
    assert used[0] is used[1] is used[2] is not used[3]
    client.close()


def test_the_schema_version_of_a_newer_release_is_refused(url: str) -> None:
    async def case(store: EtcdMetadataStore, other: EtcdMetadataStore) -> None:
        store._client.write([], [put(store._keys.schema, b"99")])
        error = await raises(DataInUse, other.open("one"))
        assert "schema version 99 of a newer release" in error.message

    run(url, case)


def test_a_store_that_was_not_opened_is_unavailable(url: str) -> None:
    async def main() -> None:
        runtime = SystemRuntime(threads=1)
        store = EtcdMetadataStore(url, runtime)
        for call in (store.version(), store.begin_epoch(LOG, FIRST)):
            error = await raises(MetadataUnavailable, call)
            assert "was not opened" in error.message
        await store.close()
        await runtime.close()

    asyncio.run(main())


def test_an_account_is_used_and_a_forgotten_token_renewed(etcd: Etcd) -> None:
    def call(path: str, **body: Any) -> None:
        answer = requests.post(f"http://{server.endpoint}/v3/{path}", json=body, timeout=10)
        assert answer.ok, answer.text

    async def case(store: EtcdMetadataStore, other: EtcdMetadataStore) -> None:
        server.restart()  # with it go the tokens
        assert await other.version() == 1
        await commit(store, 2, {"a": b"2"})
        assert await state(store) == (2, {"a": b"2"})

    with Etcd() as server:
        call("auth/role/add", name="root")
        call("auth/user/add", name="root", password="p@ss")
        call("auth/user/grant", user="root", role="root")
        call("auth/enable")
        url = server.database("one")
        run(url.replace("://", "://root:p%40ss@"), case)
        for wrong in (url, url.replace("://", "://root:wrong@")):
            with pytest.raises(InvalidRequest, match="user"):
                run(wrong, case)


def test_any_member_of_a_cluster_serves(etcd: Etcd) -> None:
    members = joined(3)
    try:
        for member in members:
            member.start()
        wait_for(lambda: agreed(members), "etcd members agree", 60)

        async def case(store: EtcdMetadataStore, other: EtcdMetadataStore) -> None:
            members[0].kill()
            async with asyncio.timeout(60):
                while await version(other) < 2:
                    with suppress(MetadataUnavailable, MetadataConflict):
                        await commit(store, 2, {"a": b"2"})
            assert await state(other) == (2, {"a": b"2"})

        run(members[0].database("m"), case)
    finally:
        for member in members:
            member.close()


def agreed(members: list[Etcd]) -> bool:
    for member in members:
        assert member.running, member.output()
    return all(member.healthy() for member in members)


async def version(store: EtcdMetadataStore) -> int:
    """The newest one; -1 while there is no knowing."""
    try:
        return await store.version()
    except MetadataUnavailable:
        return -1


def staged(url: str) -> int:
    """How many staged parts lie there."""
    parsed = parse_etcd_url(url)
    client = EtcdClient(parsed, time.monotonic)
    try:
        start = EtcdKeys(parsed.prefix).staged(MetadataVersion(0))[:-21]
        return len(client.read(read(start, after(start), keys_only=True)).ranges[0])
    finally:
        client.close()
