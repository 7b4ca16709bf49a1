"""What a process says of the limits around it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mishards.core.errors import NotReady
from mishards.core.ids import NodeId
from mishards.core.runtime import SystemRuntime
from mishards.rpc.messages import Condition, Examine
from mishards.rpc.protocol import CallContext
from mishards.server.condition import examined, memory_limit
from mishards.server.config import Config
from mishards.server.dispatch import RoleDispatcher
from mishards.testing.expect import raises

KIB = 1024


def limit(folder: Path, groups: str, **files: str) -> int:
    """With 1 GB in the machine, the process's control groups, and files below their root."""
    proc, root = folder / "proc", folder / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text("MemFree: 5 kB\nMemTotal:     1000000 kB\n")
    (proc / "self/cgroup").write_text(groups)
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_max", ".max")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return memory_limit(proc, root)


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("", {}, 1_000_000 * KIB),
        ("0::/\n", {"memory_max": "5000\n"}, 5_000),  # as in a container
        ("0::/a/b\n", {"a__memory_max": "7000\n", "a__b__memory_max": "max\n"}, 7_000),
        ("0::/a/b\n", {"a__memory_max": "max\n"}, 1_000_000 * KIB),
        ("0::/../x\n", {"memory_max": "8000\n"}, 8_000),
    ],
)
def test_the_least_limit_counts(
    tmp_path: Path, groups: str, files: dict[str, str], expected: int
) -> None:
    assert limit(tmp_path, groups, **files) == expected


def test_control_groups_of_the_first_version(tmp_path: Path) -> None:
    folder = tmp_path / "cgroup/memory/docker/x"
    folder.mkdir(parents=True)
    (folder / "memory.limit_in_bytes").write_text("9000\n")
    (tmp_path / "cgroup/memory/memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert limit(tmp_path, "5:cpu:/docker/x\n4:memory:/docker/x\n") == 9_000


def test_nothing_is_told_where_there_is_nothing(tmp_path: Path) -> None:
    assert memory_limit(tmp_path / "none", tmp_path / "none") == 0


def test_a_node_tells_of_itself_once_it_can(tmp_path: Path) -> None:
    async def main() -> None:
        runtime = SystemRuntime(threads=1)
        dispatcher = RoleDispatcher(NodeId("n"))
        context = CallContext(deadline_s=runtime.monotonic_s() + 20.0)
        await raises(NotReady, dispatcher.handle(Examine(), context))
        dispatcher.examine = lambda: examined(Config(), runtime, NodeId("n"), tmp_path)
        told = await dispatcher.handle(Examine(), context)
        assert isinstance(told, Condition)
        assert told.node == "n"
        assert abs(told.now_ms - runtime.now_ms()) < 60_000
        assert told.resident_bytes > told.own_bytes > 1 << 20
        assert told.memory_limit_bytes > told.own_bytes
        assert told.open_files > 0
        assert told.mapped_areas > 0
        assert told.cpu_s > 0
        assert {"python", "numpy"} <= set(told.libraries)
        await runtime.close()

    asyncio.run(main())
