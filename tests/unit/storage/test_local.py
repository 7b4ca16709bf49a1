"""What only files can do wrong; the rest is in the contract suite."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from mishards.core.errors import ConfigError, DiskFull, ObjectExists, ObjectNotFound, StorageError
from mishards.core.runtime import SystemRuntime
from mishards.storage.local import LocalStore, open_local
from mishards.testing.expect import raises

Case = Callable[[LocalStore], Awaitable[None]]


class HereRuntime(SystemRuntime):
    """Runs blocking work in place and counts it."""

    def __init__(self) -> None:
        super().__init__(threads=1)
        self.hops = 0

    async def blocking(self, work: Callable[..., Any], /, *args: Any) -> Any:
        self.hops += 1
        return work(*args)


def run(folder: Path, case: Case) -> HereRuntime:
    runtime = HereRuntime()

    async def main() -> None:
        await case(LocalStore(folder / "data", runtime))
        await runtime.close()

    asyncio.run(main())
    return runtime


def is_folder(descriptor: int) -> bool:
    return stat.S_ISDIR(os.fstat(descriptor).st_mode)


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_every_operation_is_one_hop(tmp_path: Path) -> None:
    async def case(store: LocalStore) -> None:
        await store.create("a/b/c", b"1")
        await store.put("a/d", b"2")
        await store.get("a/d")
        await store.list("a/")
        (tmp_path / "file").write_bytes(b"3")
        await store.put_file("e/f", tmp_path / "file")
        await store.delete("e/f")

    assert run(tmp_path, case).hops == 6


def test_put_file_takes_the_file(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"content")

    async def case(store: LocalStore) -> None:
        await store.put_file("a/b", source)
        assert await store.get("a/b") == b"content"

    run(tmp_path, case)
    assert files_below(tmp_path) == ["data/a/b"]


def test_put_file_copies_across_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"content")
    rename = Path.rename

    def refuse_other_device(path: Path, target: Path) -> Path:
        if path.parent != target.parent:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse_other_device)

    async def case(store: LocalStore) -> None:
        await store.put_file("a/b", source)
        assert await store.get("a/b") == b"content"

    run(tmp_path, case)
    assert files_below(tmp_path) == ["data/a/b"]


def test_put_file_of_a_missing_file_is_an_error(tmp_path: Path) -> None:
    async def case(store: LocalStore) -> None:
        error = await raises(StorageError, store.put_file("a/b", tmp_path / "missing"))
        assert "'a/b'" in error.message
        assert "missing" in error.message

    run(tmp_path, case)


def test_temporary_files_are_never_seen_or_in_the_way(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "log" / "0"
    folder.mkdir(parents=True)
    (folder / ".0123.0").write_bytes(b"left behind by a crash")
    (tmp_path / "data" / ".lock").write_bytes(b"1")

    async def case(store: LocalStore) -> None:
        assert await store.list("") == []
        await store.create("log/0/1", b"")
        assert [info.key for info in await store.list("")] == ["log/0/1"]
        await store.delete("log/0/1")

    run(tmp_path, case)
    assert files_below(tmp_path / "data") == [".lock", "log/0/.0123.0"]


def test_nothing_is_left_beside_the_objects(tmp_path: Path) -> None:
    async def case(store: LocalStore) -> None:
        await store.create("log/0/1", b"1")
        await raises(ObjectExists, store.create("log/0/1", b"2"))
        await store.put("log/0/2", b"2")
        await store.put("log/0/2", b"3")
        await store.put("gone/deep/down", b"")
        await store.delete("gone/deep/down")

    run(tmp_path, case)
    assert files_below(tmp_path) == ["data/log/0/1", "data/log/0/2"]
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["log"]


def test_bytes_and_names_are_synced_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    fsync, link, rename = os.fsync, os.link, Path.rename

    def record_fsync(descriptor: int) -> None:
        events.append("sync folder" if is_folder(descriptor) else "sync file")
        fsync(descriptor)

    def record_link(source: Path, target: Path) -> None:
        events.append("name")
        link(source, target)

    def record_rename(source: Path, target: Path) -> Path:
        events.append("name")
        return rename(source, target)

    async def case(store: LocalStore) -> None:
        await store.put("folder/first", b"")
        monkeypatch.setattr(os, "fsync", record_fsync)
        monkeypatch.setattr(os, "link", record_link)
        monkeypatch.setattr(Path, "rename", record_rename)
        await store.create("folder/a", b"1")
        assert events == ["sync file", "name", "sync folder"]
        events.clear()
        await store.put("folder/b", b"1")
        assert events == ["sync file", "name", "sync folder"]
        events.clear()
        (tmp_path / "source").write_bytes(b"2")
        await store.put_file("folder/c", tmp_path / "source")
        assert events == ["sync file", "name", "sync folder"]
        events.clear()
        await store.delete("folder/c")
        assert events == ["sync folder"]
        events.clear()
        await store.create("new/deep/d", b"1")
        assert events == ["sync folder", "sync folder", "sync file", "name", "sync folder"]

    run(tmp_path, case)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_no_space_is_said_so_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def full(descriptor: int, data: bytes) -> int:
        raise OSError(number, os.strerror(number))

    async def case(store: LocalStore) -> None:
        monkeypatch.setattr(os, "write", full)
        for call in (store.create("log/0/1", b"data"), store.put("log/0/2", b"data")):
            error = await raises(DiskFull, call)
            assert "'log/0/" in error.message
            assert error.retriable
        monkeypatch.undo()
        await store.create("log/0/1", b"data")

    run(tmp_path, case)
    assert files_below(tmp_path) == ["data/log/0/1"]


def test_a_failed_fsync_of_the_bytes_stores_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async def case(store: LocalStore) -> None:
        await store.put("kept", b"old")
        monkeypatch.setattr(os, "fsync", fail)
        for call in (store.create("new", b"data"), store.put("kept", b"new")):
            error = await raises(StorageError, call)
            assert error.retriable
        assert await store.get("kept") == b"old"
        await raises(ObjectNotFound, store.get("new"))

    run(tmp_path, case)
    assert files_below(tmp_path) == ["data/kept"]


def test_a_failed_fsync_of_the_name_is_not_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def fail(descriptor: int) -> None:
        if is_folder(descriptor):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(descriptor)

    async def case(store: LocalStore) -> None:
        await store.put("first", b"")
        monkeypatch.setattr(os, "fsync", fail)
        error = await raises(StorageError, store.create("new", b"data"))
        assert not isinstance(error, ObjectExists)
        assert "'new'" in error.message

    run(tmp_path, case)


def test_short_writes_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))

    async def case(store: LocalStore) -> None:
        await store.create("a", b"0123456789")
        assert await store.get("a") == b"0123456789"

    run(tmp_path, case)


def test_a_link_whose_answer_was_lost_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def link_twice(source: Path, target: Path) -> None:
        link(source, target)
        link(source, target)

    monkeypatch.setattr(os, "link", link_twice)

    async def case(store: LocalStore) -> None:
        await store.create("a", b"mine")
        assert await store.get("a") == b"mine"
        await raises(ObjectExists, store.create("a", b"other"))

    run(tmp_path, case)


def test_a_folder_removed_at_the_wrong_moment_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open
    removals = iter(range(2))

    def remove_folder_first(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_CREAT and next(removals, None) is not None and path.parent.exists():
            path.parent.rmdir()
        return opened(path, flags, mode)

    async def case(store: LocalStore) -> None:
        monkeypatch.setattr(os, "open", remove_folder_first)
        await store.create("folder/a", b"1")
        assert await store.get("folder/a") == b"1"

    run(tmp_path, case)


def test_a_refused_read_names_the_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> bytes:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    async def case(store: LocalStore) -> None:
        await store.put("a/b", b"")
        monkeypatch.setattr(Path, "read_bytes", fail)
        error = await raises(StorageError, store.get("a/b"))
        assert "'a/b'" in error.message
        assert error.retriable

    run(tmp_path, case)


def test_gives_the_path_of_an_object(tmp_path: Path) -> None:
    async def case(store: LocalStore) -> None:
        assert store.local_path("a/b") == tmp_path / "data" / "a" / "b"
        with pytest.raises(ConfigError):
            store.local_path("../b")

    run(tmp_path, case)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match="file/below"):
        LocalStore(tmp_path / "file" / "below", HereRuntime())
    with pytest.raises(ConfigError, match="file"):
        LocalStore(tmp_path / "file", HereRuntime())


@pytest.mark.parametrize("url", ["file://host/folder", "file://", "file:///"])
def test_a_url_has_to_name_a_folder(url: str) -> None:
    with pytest.raises(ConfigError, match="expected file:///folder"):
        open_local(url, HereRuntime())
