"""What this process and its machine are like, as Linux tells it.

Invariant: what cannot be told is 0 or empty; nothing here raises.
"""

from __future__ import annotations

import os
import platform
import resource
import shutil
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import mishards
from mishards.core.ids import NodeId
from mishards.core.runtime import Runtime
from mishards.rpc.messages import Condition
from mishards.server.config import Config

LIBRARIES = ("faiss-cpu", "numpy", "pyarrow", "pymilvus")
_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")
_UNLIMITED = 1 << 60
"""Control groups of the first version say that there is no limit by a number as large as this."""


async def examined(config: Config, runtime: Runtime, node_id: NodeId, scratch: Path) -> Condition:
    """The condition of the process that calls.

    Args:
        scratch: the node's own folder, where its cache lies unless another was chosen.
    """
    cache = Path(config.reader.cache_dir or scratch)
    return await runtime.blocking(_examined, config, runtime.now_ms(), node_id, cache)


def _examined(config: Config, now_ms: int, node_id: NodeId, cache: Path) -> Condition:
    resident, own = _memory()
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return Condition(
        node=node_id,
        now_ms=now_ms,
        release=mishards.__version__,
        libraries=installed_libraries(),
        cpu_s=used.ru_utime + used.ru_stime,
        processors=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0,
        resident_bytes=resident,
        own_bytes=own,
        memory_limit_bytes=memory_limit(),
        open_files=_count(_PROC / "self/fd"),
        open_files_limit=0 if limit == resource.RLIM_INFINITY else limit,
        mapped_areas=_text(_PROC / "self/maps").count("\n"),
        mapped_areas_limit=_number(_PROC / "sys/vm/max_map_count"),
        cache_folder="" if config.has_data_folder else str(cache),
        cache_free_bytes=0 if config.has_data_folder else _free(cache),
        cache_limit_bytes=0 if config.has_data_folder else config.reader.cache_bytes,
    )


def installed_libraries() -> dict[str, str]:
    """Versions of Python and of the packages that answers depend on, as far as there are any."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def memory_limit(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int:
    """Bytes that the process may have: of the machine and the control groups around it, the least;
    0 where nothing is told. Blocking."""
    total = _field(_text(proc / "meminfo"), "MemTotal:")
    limits = [total * 1024] if total else []
    for file in _limit_files(_text(proc / "self/cgroup"), cgroups):
        limit = _number(file)
        if 0 < limit < _UNLIMITED:
            limits.append(limit)
    return min(limits, default=0)


def _limit_files(groups: str, root: Path) -> Iterator[Path]:
    """Where the limits of a process's groups stand: those of both versions, up to the outermost.

    In a container the path may be that of the machine outside; its root then is the group.
    """
    for line in groups.splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controllers not in ("", "memory") and "memory" not in controllers.split(","):
            continue
        folder = root / "memory" if controllers else root
        name = "memory.limit_in_bytes" if controllers else "memory.max"
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for depth in range(len(parts) + 1):
            yield folder.joinpath(*parts[:depth], name)


def _memory() -> tuple[int, int]:
    """Resident bytes, and those of them that are in no file."""
    status = _text(_PROC / "self/status")
    resident, own = _field(status, "VmRSS:"), _field(status, "RssAnon:")
    return resident * 1024, own * 1024


def _field(text: str, name: str) -> int:
    for line in text.splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    return 0


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _number(path: Path) -> int:
    text = _text(path).strip()
    return int(text) if text.isdecimal() else 0


def _count(folder: Path) -> int:
    try:
        return sum(1 for _ in folder.iterdir())
    except OSError:
        return 0


def _free(folder: Path) -> int:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 0
