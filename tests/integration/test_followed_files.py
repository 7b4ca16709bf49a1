"""A balancer's file that is kept as the cluster is."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from mishards.core.errors import Unavailable
from mishards.core.ids import NodeId
from mishards.core.runtime import SystemRuntime
from mishards.discovery.protocol import NodeInfo
from mishards.server.balancing.follow import Follower
from mishards.server.balancing.plan import ProxyTarget


class Registry:
    """Lists what it is told; `away` lets it fail."""

    def __init__(self) -> None:
        self.found: list[NodeInfo] = []
        self.away = False

    async def nodes(self) -> tuple[NodeInfo, ...]:
        if self.away:
            raise Unavailable("the registry is away")
        return tuple(self.found)

    async def announce(self, node: NodeInfo) -> None: ...

    async def withdraw(self, node_id: NodeId) -> None: ...

    async def close(self) -> None: ...


def proxy(name: str, *, http: str = "", ready: bool = True) -> NodeInfo:
    return NodeInfo(
        id=NodeId(name), roles=("proxy",), address="mem://x", edge="h:1", http=http, ready=ready
    )


def make(proxies: Sequence[ProxyTarget]) -> str:
    return "".join(f"{one.name}{' drained' if one.drained else ''}\n" for one in proxies)


class Setup:
    """A follower whose command counts its runs in a file."""

    def __init__(self, folder: Path, end: str = "") -> None:
        self.registry = Registry()
        self.file = folder / "balancer.conf"
        self.runs = folder / "runs"
        script = f"open({str(self.runs)!r}, 'a').write('x'); {end}"
        command = f'{sys.executable} -S -c "{script}"'
        self.follower = Follower(SystemRuntime(), self.registry, make, self.file, command)

    async def look(self) -> tuple[str, int]:
        """The file after a look, and how often the command has run."""
        await self.follower.look()
        return (
            self.file.read_text() if self.file.exists() else "",
            len(self.runs.read_text()) if self.runs.exists() else 0,
        )


def test_the_file_is_written_after_a_change_only(tmp_path: Path) -> None:
    async def main() -> None:
        setup = Setup(tmp_path)
        assert await setup.look() == ("", 0)
        setup.registry.found = [proxy("a"), proxy("b", ready=False)]
        assert await setup.look() == ("a\n", 1)
        assert await setup.look() == ("a\n", 1)
        setup.registry.found = [proxy("a"), proxy("b")]
        assert await setup.look() == ("a\nb\n", 2)

    asyncio.run(main())


def test_what_was_known_stays_without_a_registry_and_without_a_proxy(tmp_path: Path) -> None:
    async def main() -> None:
        setup = Setup(tmp_path)
        setup.registry.found = [proxy("a")]
        assert await setup.look() == ("a\n", 1)
        setup.registry.away = True
        assert await setup.look() == ("a\n", 1)
        setup.registry.away = False
        for found in ([], [proxy("a", http="127.0.0.1:1")]):
            setup.registry.found = found
            assert await setup.look() == ("a\n", 1)

    asyncio.run(main())


def test_a_command_that_fails_is_run_again_and_told_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        setup = Setup(tmp_path, end="raise SystemExit(3)")
        setup.registry.found = [proxy("a")]
        assert await setup.look() == ("a\n", 1)
        assert await setup.look() == ("a\n", 2)
        assert caplog.text.count(" ended with 3") == 1

    asyncio.run(main())


def test_a_proxy_that_does_not_answer_is_drained(tmp_path: Path) -> None:
    async def main() -> None:
        setup = Setup(tmp_path)
        setup.registry.found = [proxy("a", http="127.0.0.1:1"), proxy("b")]
        assert await setup.look() == ("a drained\nb\n", 1)

    asyncio.run(main())
