"""The store in a folder, where system calls answer as those of an NFS mount do."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from mishards.core.errors import ObjectExists, ObjectNotFound, StorageError
from mishards.core.runtime import SystemRuntime
from mishards.storage.local import LocalStore
from mishards.storage.protocol import ObjectInfo
from mishards.testing.expect import raises

Case = Callable[[LocalStore], Awaitable[None]]


def run(folder: Path, case: Case) -> None:
    async def main() -> None:
        runtime = SystemRuntime(threads=1)
        try:
            await case(LocalStore(folder, runtime))
        finally:
            await runtime.close()

    asyncio.run(main())


def _stale() -> OSError:
    return OSError(errno.ESTALE, os.strerror(errno.ESTALE))


class Sometimes:
    """A call that fails the first `times`, before its work, or after it where `done`."""

    def __init__(self, work: Callable[..., Any], error: OSError, times: int, *, done: bool) -> None:
        self._work = work
        self._error = error
        self.left = times
        self._done = done

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.left <= 0:
            return self._work(*args, **kwargs)
        self.left -= 1
        if self._done:
            self._work(*args, **kwargs)
        raise self._error


def test_a_link_whose_answer_was_lost_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = Sometimes(os.link, FileExistsError(errno.EEXIST, "exists"), 1, done=True)
    monkeypatch.setattr(os, "link", lost)
    # What is known of a name may be older than the link: its file has to be opened to tell.
    old = os.stat_result((0o100644, 1, 1, 1, 0, 0, 5, 0, 0, 0))
    by_name = Path.stat

    def stat(path: Path, **kwargs: Any) -> os.stat_result:
        return old if path.name[0] == "." else by_name(path, **kwargs)

    async def case(store: LocalStore) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Path, "stat", stat)
            await store.create("log/0/1", b"ours")
        assert await store.get("log/0/1") == b"ours"
        await raises(ObjectExists, store.create("log/0/1", b"another"))

    run(tmp_path, case)


def test_a_rename_whose_answer_was_lost_was_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = FileNotFoundError(errno.ENOENT, "gone")

    async def case(store: LocalStore) -> None:
        await store.put("a", b"old")
        for times in (1, 2):
            monkeypatch.setattr(os, "rename", os.rename)
            lost = Sometimes(Path.rename, gone, 1, done=True)
            with monkeypatch.context() as patch:
                patch.setattr(Path, "rename", lambda *args, lost=lost: lost(*args))
                if times == 1:
                    await store.put("a", b"new")
                else:
                    (tmp_path / "source").write_bytes(b"moved")
                    await store.put_file("folder/b", tmp_path / "source")
            assert lost.left == 0
        assert await store.get("a") == b"new"
        assert await store.get("folder/b") == b"moved"
        assert await store.list("") == [ObjectInfo("a", 3), ObjectInfo("folder/b", 5)]

    run(tmp_path / "data", case)


def test_a_rename_that_was_not_done_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def case(store: LocalStore) -> None:
        await store.put("a", b"old")
        lost = Sometimes(Path.rename, FileNotFoundError(errno.ENOENT, "gone"), 1, done=False)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", lambda *args: lost(*args))
            await raises(StorageError, store.put("a", b"new"))
        assert await store.get("a") == b"old"

    run(tmp_path, case)


@pytest.mark.parametrize("times", [1, 3])
def test_a_file_that_was_replaced_while_open_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    async def case(store: LocalStore) -> None:
        await store.put("a/b", b"1")
        read = Sometimes(Path.read_bytes, _stale(), times, done=False)
        scan = Sometimes(os.scandir, _stale(), times, done=False)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "read_bytes", lambda path: read(path))
            patch.setattr(os, "scandir", scan)
            assert await store.get("a/b") == b"1"
            assert await store.list("a/") == [ObjectInfo("a/b", 1)]
            assert (read.left, scan.left) == (0, 0)

    run(tmp_path, case)


def test_a_file_that_stays_stale_is_a_failure_that_may_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def case(store: LocalStore) -> None:
        await store.put("a", b"1")
        with monkeypatch.context() as patch:
            patch.setattr(Path, "read_bytes", Sometimes(Path.read_bytes, _stale(), 99, done=False))
            error = await raises(StorageError, store.get("a"))
        assert error.retriable
        assert not isinstance(error, ObjectNotFound)
        assert "'a'" in error.message

    run(tmp_path, case)


def test_a_folder_that_another_machine_removed_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def case(store: LocalStore) -> None:
        await store.put("log/0/1", b"1")
        opened = Sometimes(os.open, _stale(), 1, done=False)
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", opened)
            await store.create("log/0/2", b"2")
        assert opened.left == 0
        assert [info.key for info in await store.list("log/")] == ["log/0/1", "log/0/2"]

    run(tmp_path, case)


def test_what_the_client_keeps_of_open_files_is_no_object_and_holds_no_deletion_up(
    tmp_path: Path,
) -> None:
    async def case(store: LocalStore) -> None:
        await store.put("segments/1/2/data", b"1")
        # Removed while it is open here: a client gives it another name until it is closed.
        (tmp_path / "segments/1/2/.nfs0000000000012345").write_bytes(b"1")
        await store.delete("segments/1/2/data")
        assert await store.list("") == []
        await store.put("segments/1/2/data", b"2")
        assert await store.list("segments/") == [ObjectInfo("segments/1/2/data", 1)]

    run(tmp_path, case)
