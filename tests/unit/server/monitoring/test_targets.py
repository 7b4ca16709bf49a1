"""Which nodes Prometheus is told of, and for how long."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from mishards.core.errors import Unavailable
from mishards.core.ids import NodeId
from mishards.discovery.protocol import NodeInfo
from mishards.server.monitoring.follow import TargetFollower
from mishards.server.monitoring.prometheus import PrometheusPlan, prometheus_file
from mishards.server.monitoring.targets import ScrapeTarget, targets_file, targets_of
from mishards.testing.stepped import SteppedRuntime

ROOT = Path(__file__).resolve().parents[4]


def node(name: str, http: str, *roles: str, ready: bool = True) -> NodeInfo:
    address = f"tcp://{name}:1"
    return NodeInfo(
        id=NodeId(name), roles=roles, address=address, http=http, host="machine", ready=ready
    )


class Listed:
    """A registry that lists what the test says."""

    def __init__(self, *nodes: NodeInfo) -> None:
        self.listed: Sequence[NodeInfo] | None = nodes

    async def nodes(self) -> tuple[NodeInfo, ...]:
        if self.listed is None:
            raise Unavailable("the registry is away")
        return tuple(self.listed)

    async def announce(self, node: NodeInfo) -> None: ...

    async def withdraw(self, node_id: NodeId) -> None: ...

    async def close(self) -> None: ...


class Followed:
    """A file that a follower keeps for 900 s after a loss."""

    def __init__(self, folder: Path, *nodes: NodeInfo) -> None:
        self.path = folder / "targets.json"
        self.registry = Listed(*nodes)
        self.silent: set[str] = set()
        self.runtime = SteppedRuntime()
        self.follower = TargetFollower(
            self.runtime, self.registry, self.path, "", 900, lambda one: one not in self.silent
        )

    async def look(self) -> list[str]:
        """The nodes in the file after a look."""
        await self.follower.look()
        return [one["labels"]["node"] for one in json.loads(self.path.read_text())]


R1 = node("reader-1", "10.0.0.1:9091", "reader")
R2 = node("reader-2", "10.0.0.2:9091", "reader")


def test_all_nodes_with_an_http_endpoint_are_targets() -> None:
    found = targets_of(
        [
            node("w", "10.0.0.3:1", "writer", ready=False),
            node("one", "0.0.0.0:9091", "writer", "reader", "proxy"),
            node("none", "", "reader"),
        ],
        "shop",
    )
    assert json.loads(targets_file(found)) == [
        {
            "targets": ["machine:9091"],
            "labels": {"cluster": "shop", "node": "one", "roles": "proxy,reader,writer"},
        },
        {
            "targets": ["10.0.0.3:1"],
            "labels": {"cluster": "shop", "node": "w", "roles": "writer"},
        },
    ]


def test_a_node_that_drained_leaves_the_list_and_one_that_was_lost_stays(tmp_path: Path) -> None:
    async def scene() -> None:
        files = Followed(tmp_path, R1, R2)
        assert await files.look() == ["reader-1", "reader-2"]
        files.registry.listed = [R1]
        assert await files.look() == ["reader-1"]
        files.registry.listed, files.silent = [R1, R2], {"10.0.0.1:9091"}
        assert await files.look() == ["reader-1", "reader-2"]
        files.registry.listed = [R2]
        assert await files.look() == ["reader-1", "reader-2"]
        files.runtime.advance(899)
        assert await files.look() == ["reader-1", "reader-2"]
        files.runtime.advance(2)
        assert await files.look() == ["reader-2"]

    asyncio.run(scene())


@pytest.mark.parametrize(
    "back", [R1, node("reader-1", "10.0.0.9:9091", "reader"), node("x", "10.0.0.1:9091", "reader")]
)
def test_a_lost_node_that_is_back_or_replaced_is_listed_once(
    tmp_path: Path, back: NodeInfo
) -> None:
    async def scene() -> None:
        files = Followed(tmp_path, R1, R2)
        files.silent = {"10.0.0.1:9091"}
        await files.look()
        files.registry.listed = [R2]
        assert await files.look() == ["reader-1", "reader-2"]
        files.registry.listed = [R2, back]
        assert await files.look() == sorted(["reader-2", back.id])

    asyncio.run(scene())


def test_a_registry_that_is_away_changes_nothing(tmp_path: Path) -> None:
    async def scene() -> None:
        files = Followed(tmp_path, R1)
        await files.look()
        before = files.path.stat()
        files.registry.listed = None
        assert await files.look() == ["reader-1"]
        files.registry.listed = [R1]
        await files.look()
        assert files.path.stat() == before

    asyncio.run(scene())


def test_the_example_is_what_the_command_prints() -> None:
    plan = PrometheusPlan(
        targets_file="mishards-targets.json",
        rules=("rules.yml",),
        alertmanagers=("127.0.0.1:9093",),
    )
    example = ROOT / "deploy" / "prometheus" / "prometheus.yml"
    assert example.read_text(encoding="utf-8") == prometheus_file(plan)


def test_a_name_can_put_nothing_else_into_the_file() -> None:
    name = 'a"\n  - b: {x}'
    target = ScrapeTarget(node=name, roles="reader", address="h:1")
    text = prometheus_file(PrometheusPlan(targets=(target,), token_file="/run/a token"))
    (line,) = (line for line in text.splitlines() if " labels:" in line)
    assert json.dumps(name) in line
    assert '      credentials_file: "/run/a token"' in text.splitlines()


def test_nodes_that_speak_tls_are_asked_over_tls() -> None:
    text = prometheus_file(PrometheusPlan(targets_file="t.json", ca_file="/e/ca.pem"))
    assert '    scheme: https\n    tls_config:\n      ca_file: "/e/ca.pem"\n' in text
    assert "scheme" not in prometheus_file(PrometheusPlan(targets_file="t.json"))
