"""What has to be looked at again and again to be known: how late the loop is, how full disks are.

Invariant: a disk that does not answer holds up nobody: it is asked in threads of its own.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from pathlib import Path

from mishards.core.runtime import Runtime
from mishards.observability.instruments import Metrics
from mishards.observability.metrics import DISK_FREE, DISK_SIZE, LOOP_DELAY
from mishards.server.config import Config

_LOOP_S = 0.25
_DISKS_S = 10.0


def watched_folders(config: Config) -> dict[str, Path]:
    """Folders that fill up, by what they are for."""
    found = {}
    if config.has_data_folder:
        found["data"] = config.data_folder
    if config.reader.cache_dir:
        found["cache"] = Path(config.reader.cache_dir)
    return found


async def sample(runtime: Runtime, metrics: Metrics, folders: Mapping[str, Path]) -> None:
    """Look until cancelled."""
    works = [_loop(runtime, metrics)]
    if folders:
        works.append(_disks(runtime.apart("disks"), metrics, folders))
    await asyncio.gather(*works)


async def _loop(runtime: Runtime, metrics: Metrics) -> None:
    delay = metrics.histogram(LOOP_DELAY)
    while True:
        began_s = runtime.monotonic_s()
        await runtime.sleep(_LOOP_S)
        delay.observe(max(0.0, runtime.monotonic_s() - began_s - _LOOP_S))


async def _disks(runtime: Runtime, metrics: Metrics, folders: Mapping[str, Path]) -> None:
    while True:
        for name, folder in folders.items():
            try:
                usage = await runtime.blocking(shutil.disk_usage, folder)
            except OSError:
                continue  # not made yet, or away: what reads and writes there says so
            metrics.gauge(DISK_FREE, name).set(usage.free)
            metrics.gauge(DISK_SIZE, name).set(usage.total)
        await runtime.sleep(_DISKS_S)
