"""Keeping Prometheus's list of targets as the cluster is.

A node that drains leaves the registry while it still answers, and the list with it. One that was
lost stops answering first, and stays in the list for some time after the registry forgot it, or its
alert would end before anybody has seen it.

Invariants: the file is replaced whole, and only by another one; a registry that cannot be reached
changes nothing; of two nodes at one address the registry's is listed.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from pathlib import Path

from mishards.core.errors import MishardsError
from mishards.core.runtime import Runtime, SystemRuntime
from mishards.discovery.protocol import Registry
from mishards.server.balancing.follow import replace_file
from mishards.server.config import Config
from mishards.server.monitoring.targets import ScrapeTarget, targets_file, targets_of
from mishards.server.seams import open_seams

_ASK_S = 2.0
_log = logging.getLogger(__name__)


async def keep_targets(config: Config, path: Path, every_s: float, keep_s: float) -> None:
    """Look every `every_s`, and write the file after a change; for ever.

    Raises:
        ConfigError: there is no such data set.
    """
    config.require_data()
    runtime = SystemRuntime(threads=8)
    try:
        seams = await open_seams(config, runtime)
        try:
            follower = TargetFollower(runtime, seams.registry, path, config.cluster.id, keep_s)
            while True:
                await follower.look()
                await runtime.sleep(every_s)
        finally:
            await seams.close()
    finally:
        await runtime.close()


def answers(address: str) -> bool:
    """Whether somebody listens at an HTTP endpoint, over TLS or not. Blocks."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ASK_S).close()
    except (OSError, ValueError):
        return False
    return True


class TargetFollower:
    """Compares and replaces one file."""

    def __init__(
        self,
        runtime: Runtime,
        registry: Registry,
        path: Path,
        cluster: str,
        keep_s: float,
        alive: Callable[[str], bool] = answers,
    ) -> None:
        """`keep_s`: how long a lost node stays; `alive` is asked of addresses, off the loop."""
        self._runtime = runtime
        self._registry = registry
        self._path = path
        self._cluster = cluster
        self._keep_s = keep_s
        self._alive = alive
        self._silent: set[ScrapeTarget] = set()
        """Of those that were listed at the last look."""
        self._lost: dict[ScrapeTarget, float] = {}
        """When each was forgotten by the registry, on the runtime's clock."""
        self._written: str | None = None
        self._trouble = ""

    async def look(self) -> None:
        """Look once; what is in the way is logged, and tried again at the next look."""
        try:
            listed = targets_of(await self._registry.nodes(), self._cluster)
            asked = (self._runtime.blocking(self._alive, one.address) for one in listed)
            alive = await asyncio.gather(*asked)
            self._remember(listed)
            self._silent = {one for one, lives in zip(listed, alive, strict=True) if not lives}
            text = targets_file(sorted([*listed, *self._lost]))
            if text != self._written:
                await self._runtime.blocking(replace_file, self._path, text)
                _log.info("%s has %d nodes, %d lost", self._path, len(listed), len(self._lost))
            self._written, self._trouble = text, ""
        except (MishardsError, OSError) as error:
            if str(error) != self._trouble:
                _log.warning("the targets stay as they are: %s", error)
            self._trouble = str(error)

    def _remember(self, listed: list[ScrapeTarget]) -> None:
        """Note who was forgotten while silent; forget who is back, replaced, or lost for long."""
        now_s = self._runtime.monotonic_s()
        for gone in self._silent - set(listed):
            self._lost[gone] = now_s
        there = {text for one in listed for text in (one.node, one.address)}
        self._lost = {
            one: since_s
            for one, since_s in self._lost.items()
            if now_s - since_s < self._keep_s and there.isdisjoint((one.node, one.address))
        }
