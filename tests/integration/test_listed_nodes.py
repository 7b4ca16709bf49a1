"""A cluster whose nodes are listed in a file, with standby writers, from outside."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from pathlib import Path

from mishards.core.runtime import SystemRuntime
from mishards.discovery.protocol import NodeInfo, Registry
from mishards.server.config import Config, load_config
from mishards.server.lifecycle import running_node
from mishards.server.seams import open_seams

_PATIENCE_S = 30.0


class Listed:
    """A list of nodes, and the configuration of those on it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / "nodes.json"
        self.addresses = {name: f"unix://{folder}/{name}" for name in ("w1", "w2", "r1", "r2")}

    def write(self, *names: str) -> None:
        roles = {"w": "writer", "r": "reader"}
        texts = [f"{roles[name[0]]}@{self.addresses[name]}" for name in names]
        new = self._folder / "nodes.new"
        new.write_text(json.dumps(texts))
        new.replace(self._file)

    def config(self, name: str = "") -> Config:
        options = {
            "cluster.data": f"{self._folder}/data",
            "cluster.discovery": self._file.as_uri(),
            "node.listen": self.addresses.get(name, "tcp://127.0.0.1:0"),
            "node.id": name,
        }
        return load_config(options=options, environ={}).config


async def until_seen(registry: Registry, good: Callable[[dict[str, NodeInfo]], bool]) -> None:
    async with asyncio.timeout(_PATIENCE_S):
        while not good({node.id: node for node in await registry.nodes()}):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def _leads(nodes: dict[str, NodeInfo], name: str) -> bool:
    return [node.id for node in nodes.values() if node.leads] == [name]


def test_nodes_say_who_leads_and_a_broken_list_changes_nothing(tmp_path: Path) -> None:
    listed = Listed(tmp_path)

    async def main() -> None:
        listed.write("w1", "w2", "r1")
        runtime = SystemRuntime()
        async with contextlib.AsyncExitStack() as nodes:
            first = contextlib.AsyncExitStack()
            nodes.push_async_exit(first)
            await first.enter_async_context(running_node(listed.config("w1"), ["writer"]))
            for name, role in (("w2", "writer"), ("r1", "reader"), ("r2", "reader")):
                await nodes.enter_async_context(running_node(listed.config(name), [role]))
            seams = await open_seams(listed.config(), runtime)
            nodes.push_async_callback(seams.close)
            await until_seen(seams.registry, lambda seen: set(seen) == {"w1", "w2", "r1"})
            await until_seen(seams.registry, lambda seen: _leads(seen, "w1"))
            listed.write("w1", "w2", "r1", "r2")
            await until_seen(seams.registry, lambda seen: "r2" in seen and seen["r2"].ready)
            (tmp_path / "nodes.json").write_text('["reader@')
            await first.aclose()
            await until_seen(seams.registry, lambda seen: _leads(seen, "w2"))
            await until_seen(
                seams.registry,
                lambda seen: (
                    {node.id for node in seen.values() if node.ready} == {"w2", "r1", "r2"}
                ),
            )
        await runtime.close()

    asyncio.run(main())
