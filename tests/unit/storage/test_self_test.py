"""What shared storage is tried for at a start, on storage that breaks one promise at a time."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mishards.core.errors import DiskFull, ObjectNotFound, StorageError, StorageUnfit
from mishards.core.runtime import SystemRuntime
from mishards.storage import files, folder_trial
from mishards.storage.folder_trial import try_folder
from mishards.storage.layers.count import CountingStore
from mishards.storage.layers.fault import Fault, FaultScript, FaultyStore
from mishards.storage.local import LocalStore
from mishards.storage.memory import MemoryStore
from mishards.storage.protocol import ObjectInfo, ObjectStore
from mishards.storage.self_test import self_test


class Overwriting(MemoryStore):
    async def create(self, key: str, data: bytes) -> None:
        await self.put(key, data)


class Forgetful(MemoryStore):
    async def put(self, key: str, data: bytes) -> None:
        """Keep the first object."""
        self._objects.setdefault(key, data)


class Blind(MemoryStore):
    async def list(self, prefix: str, start_after: str = "") -> list[ObjectInfo]:
        return []


class Undying(MemoryStore):
    async def delete(self, key: str) -> None:
        """Keep it."""


class Late(MemoryStore):
    async def get(self, key: str) -> bytes:
        raise ObjectNotFound(key)


def check(store: ObjectStore, again: ObjectStore | None = None) -> None:
    async def main() -> None:
        runtime = SystemRuntime(threads=2)
        try:
            await self_test(store, again or store, runtime, "folder '/srv/data'")
        finally:
            await runtime.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        (Overwriting, "not exclusive"),
        (Forgetful, "was replaced"),
        (Blind, "is listed as"),
        (Undying, "still there"),
        (Late, "is read as None"),
    ],
)
def test_a_broken_promise_is_named_with_the_storage(kind: type[MemoryStore], how: str) -> None:
    with pytest.raises(StorageUnfit, match=how) as caught:
        check(kind())
    assert "'/srv/data'" in caught.value.message


def test_another_handle_has_to_see_the_same() -> None:
    with pytest.raises(StorageUnfit, match="not exclusive"):
        check(MemoryStore(), MemoryStore())


def test_good_storage_is_left_as_it_was() -> None:
    store = CountingStore(MemoryStore())
    check(store)
    assert asyncio.run(store.list("")) == []
    assert sum(store.calls.values()) < 20


def test_what_fails_refuses_the_storage_and_a_full_one_only_warns(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for error in (StorageError, DiskFull):
        script = FaultScript().add(Fault(error=error), operation="create")
        store = FaultyStore(MemoryStore(), script, SystemRuntime(threads=1))
        if error is StorageError:
            with pytest.raises(StorageUnfit, match="injected fault"):
                check(store)
        else:
            check(store)
            assert "full and could not be tested" in caplog.text


def test_a_folder_is_tried_by_many_at_once_and_left_as_it_was(tmp_path: Path) -> None:
    async def main() -> None:
        runtime = SystemRuntime(threads=4)
        handles = [LocalStore(tmp_path, runtime) for _ in range(9)]
        again = LocalStore(tmp_path, runtime)
        await asyncio.gather(*(self_test(one, again, runtime, "folder") for one in handles))
        await runtime.close()

    asyncio.run(main())
    assert list(tmp_path.iterdir()) == []


class Calls:
    """The module `os` with one call that does not do as it should."""

    def __init__(self, name: str, work: Callable[..., Any]) -> None:
        setattr(self, name, work)

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


def _fails(number: int) -> Callable[..., Any]:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize(
    ("name", "work", "what"),
    [
        ("hardlink_to", _fails(errno.EPERM), "hard links failed: .*not permitted"),
        ("hardlink_to", lambda *_: None, "a linked file counts no link"),
        ("rename", _fails(errno.EXDEV), "renaming over a file failed"),
        ("rename", lambda *_: None, "the old name is still there"),
        ("unlink", lambda *_: None, "a removed file is still there"),
    ],
)
def test_what_a_file_system_cannot_do_is_named_with_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, work: Any, what: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Path, name, work)
        with pytest.raises(StorageUnfit, match=what) as caught:
            try_folder(tmp_path, "token")
    assert repr(str(tmp_path)) in caught.value.message


@pytest.mark.parametrize(
    ("fails_at", "what"), [(1, "writing a file and fsync"), (2, "fsync of the folder")]
)
def test_an_fsync_that_fails_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int, what: str
) -> None:
    calls = 0

    def fsync(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == fails_at:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        os.fsync(descriptor)

    monkeypatch.setattr(files, "os", Calls("fsync", fsync))
    with pytest.raises(StorageUnfit, match=what):
        try_folder(tmp_path, "token")
    assert list(tmp_path.iterdir()) == []


def test_bytes_that_come_back_otherwise_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_trial, "os", Calls("read", lambda *_: b""))
    with pytest.raises(StorageUnfit, match="holds other bytes"):
        try_folder(tmp_path, "token")
    assert list(tmp_path.iterdir()) == []


def test_a_full_folder_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "os", Calls("fsync", _fails(errno.ENOSPC)))
    with pytest.raises(DiskFull):
        try_folder(tmp_path, "token")
