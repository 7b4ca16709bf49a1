from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mishards.core.errors import PluginError
from mishards.core.runtime import SystemRuntime
from mishards.storage.local import LocalStore
from mishards.storage.memory import MemoryStore
from mishards.storage.registry import open_store


def test_a_path_and_a_file_url_are_the_same_folder(tmp_path: Path) -> None:
    runtime = SystemRuntime(threads=1)
    by_path = open_store(str(tmp_path / "a b"), runtime)
    by_url = open_store(f"file://{tmp_path}/a%20b", runtime)
    assert isinstance(by_path, LocalStore)
    assert isinstance(by_url, LocalStore)
    assert by_path.root == by_url.root == tmp_path / "a b"


def test_a_relative_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store("data", SystemRuntime(threads=1))
    assert store.local_path("x") == tmp_path / "data" / "x"


def test_a_named_memory_store_is_shared_while_it_is_held() -> None:
    runtime = SystemRuntime(threads=1)
    first = open_store("memory://shared-here", runtime)
    assert open_store("memory://shared-here", runtime) is first
    assert open_store("memory://other", runtime) is not first
    asyncio.run(first.put("a", b""))
    del first
    assert asyncio.run(open_store("memory://shared-here", runtime).list("")) == []


def test_a_memory_store_without_a_name_is_new() -> None:
    runtime = SystemRuntime(threads=1)
    first, second = open_store("memory://", runtime), open_store("memory://", runtime)
    assert isinstance(first, MemoryStore)
    assert first is not second


def test_an_unknown_scheme_lists_the_known_ones() -> None:
    with pytest.raises(PluginError, match=r"'gopher'.*file, memory"):
        open_store("gopher://a", SystemRuntime(threads=1))
