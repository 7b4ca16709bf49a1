"""What a list in a file may look like; the rest is in the contract suite."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from mishards.core.errors import ConfigError
from mishards.core.runtime import SystemRuntime
from mishards.discovery.file import FileRegistry, parse_list
from mishards.discovery.registry import open_registry

ENTRY = "r1=reader@tcp://10.0.0.5:19540"


@pytest.mark.parametrize(
    ("text", "suffix"),
    [
        (f'["{ENTRY}"]', ".json"),
        (f'{{"nodes": ["{ENTRY}"]}}', ".json"),
        (f'nodes = [\n  "{ENTRY}",  # the first\n]\n', ".toml"),
    ],
)
def test_a_list_in_each_of_its_forms(text: str, suffix: str) -> None:
    (node,) = parse_list(text.encode(), suffix)
    assert (node.id, node.roles, node.address) == ("r1", ("reader",), "tcp://10.0.0.5:19540")


@pytest.mark.parametrize(
    ("text", "suffix"),
    [
        ("", ".json"),
        (f'["{ENTRY}"', ".json"),
        (f'"{ENTRY}"', ".json"),
        ("[1]", ".json"),
        (f'{{"nodes": ["{ENTRY}"], "more": 1}}', ".json"),
        (f'{{"node": ["{ENTRY}"]}}', ".json"),
        ("[" * 5000, ".json"),
        ("", ".toml"),
        (f'nodes = ["{ENTRY}"', ".toml"),
        ("nodes = 1", ".toml"),
        ('["chef@tcp://a:1"]', ".json"),
        (f'["{ENTRY}", "{ENTRY}"]', ".json"),
    ],
)
def test_what_is_no_list_is_refused(text: str, suffix: str) -> None:
    with pytest.raises(ConfigError):
        parse_list(text.encode(), suffix)
    with pytest.raises(ConfigError):
        parse_list(b"\xff\xfe" + text.encode(), suffix)


@pytest.mark.parametrize("url", ["file://host/nodes.json", "file:///nodes.yaml", "file:///"])
def test_a_url_that_names_no_list_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"file:///folder/nodes.toml"):
        open_registry(url, SystemRuntime())


def test_a_file_is_read_again_only_when_it_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "nodes.json"
    reads = 0
    read_bytes = Path.read_bytes

    def counted(self: Path) -> bytes:
        nonlocal reads
        reads += 1
        return read_bytes(self)

    async def main() -> None:
        runtime = SystemRuntime(threads=1)
        registry = FileRegistry(path, runtime)
        path.write_text(f'["{ENTRY}"]')
        for _ in range(3):
            assert len(await registry.nodes()) == 1
        assert reads == 1
        # Another time alone, and another file of the same time and size, are changes.
        os.utime(path, ns=(1, 1))
        await registry.nodes()
        assert reads == 2
        new = tmp_path / "new.json"
        new.write_text(f'["{ENTRY.replace("r1", "r2")}"]')
        os.utime(new, ns=(1, 1))
        new.replace(path)
        assert [node.id for node in await registry.nodes()] == ["r2"]
        await runtime.close()

    monkeypatch.setattr(Path, "read_bytes", counted)
    asyncio.run(main())
