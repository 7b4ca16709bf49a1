"""`python -m mishards.testing.faulty_process …`: a `mishards` process with faults at its seams.

What goes wrong follows from the file that `FAULT_CONTROL` names, see `fault_control`. Invariants:
the process is wired as `mishards` wires it, each seam behind a gate that a fault may hold shut;
with nothing set it does what `mishards` does.
"""

from __future__ import annotations

import inspect
import os
import runpy
from pathlib import Path
from typing import Any

import msgspec

from mishards.cluster.asking import AskingRegistry
from mishards.core.errors import MetadataUnavailable, MishardsError, StorageError, Unavailable
from mishards.core.runtime import Runtime, SystemRuntime
from mishards.discovery.protocol import NodeInfo
from mishards.observability.instruments import Metrics
from mishards.server import lifecycle
from mishards.server.config import Config
from mishards.server.seams import Seams, finished, open_plain_seams
from mishards.storage import files
from mishards.storage.layers.fault import FaultyStore
from mishards.testing.fault_control import CONTROL_VARIABLE, FaultWatch

_LOOK_S = 0.01
_ERRORS: dict[str, type[MishardsError]] = {
    "storage": StorageError,
    "metadata": MetadataUnavailable,
    "registry": Unavailable,
    "election": Unavailable,
}


class Gated:
    """Any seam: its coroutines first pass a gate that may fail or stall; the rest is the seam's."""

    def __init__(self, seam: Any, name: str, watch: FaultWatch, runtime: Runtime) -> None:
        self._seam = seam
        self._name = name
        self._watch = watch
        self._runtime = runtime

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._seam, name)
        if name == "close" or not inspect.iscoroutinefunction(found):
            return found

        async def gated(*args: Any, **options: Any) -> Any:
            await self._pass(name)
            result = await found(*args, **options)
            return self._rerouted(result) if name == "nodes" else result

        return gated

    async def _pass(self, call: str) -> None:
        while (state := getattr(self._watch.state, self._name)) != "works":
            if state == "fails":
                raise _ERRORS[self._name](f"injected fault: the {self._name} is away ({call})")
            await self._runtime.sleep(_LOOK_S)

    def _rerouted(self, nodes: tuple[NodeInfo, ...]) -> tuple[NodeInfo, ...]:
        """The registry's nodes, at the addresses that this process is to use."""
        routes = self._watch.state.routes
        return tuple(
            msgspec.structs.replace(node, address=routes.get(node.id, node.address))
            for node in nodes
        )


class ShiftedRuntime(SystemRuntime):
    """The machine's, but for the wall clock."""

    def __init__(self, watch: FaultWatch) -> None:
        super().__init__()
        self._watch = watch

    def now_ms(self) -> int:
        return super().now_ms() + self._watch.state.clock_offset_ms


class FaultyCalls:
    """The module `os` with calls that fail, for the store in a folder."""

    def __init__(self, watch: FaultWatch) -> None:
        self._watch = watch

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def write(self, descriptor: int, data: memoryview) -> int:
        if (error := self._error("write", descriptor)) is not None:
            os.write(descriptor, data[: len(data) // 2])
            raise error
        return os.write(descriptor, data)

    def fsync(self, descriptor: int) -> None:
        if (error := self._error("fsync", descriptor)) is not None:
            raise error
        os.fsync(descriptor)

    def _error(self, call: str, descriptor: int) -> OSError | None:
        return self._watch.file_error(call, str(Path(f"/proc/self/fd/{descriptor}").readlink()))


def install(watch: FaultWatch) -> None:
    """Put the gates before the seams of whatever node this process starts from now on."""

    async def open_gated(config: Config, runtime: Runtime, metrics: Metrics | None = None) -> Seams:
        seams = await open_plain_seams(config, runtime)
        if isinstance(seams.registry, AskingRegistry):
            # Nodes are reached by the routes that faults are put on, which asking knows nothing of.
            seams = msgspec.structs.replace(seams, registry=seams.registry.listed)
        gated: dict[str, Any] = {
            name: Gated(getattr(seams, name), name, watch, runtime)
            for name in ("metadata", "registry", "election")
            if getattr(seams, name, None) is not None
        }
        store = FaultyStore(seams.store, watch, runtime)
        gated["store"] = Gated(store, "storage", watch, runtime)
        return await finished(msgspec.structs.replace(seams, **gated), metrics)

    replaced: dict[Any, dict[str, Any]] = {
        lifecycle: {"open_seams": open_gated, "SystemRuntime": lambda: ShiftedRuntime(watch)},
        files: {"os": FaultyCalls(watch)},
    }
    for module, names in replaced.items():
        for name, value in names.items():
            setattr(module, name, value)


if __name__ == "__main__":
    install(FaultWatch(Path(os.environ[CONTROL_VARIABLE])))
    runpy.run_module("mishards", run_name="__main__", alter_sys=True)
