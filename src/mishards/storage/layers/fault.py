"""Makes a store fail on purpose, for fault tests and the simulation.

Invariant: without a fault from the plan everything passes through unchanged.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from mishards.core.errors import MishardsError, StorageError
from mishards.core.runtime import Runtime
from mishards.storage.protocol import ObjectInfo, ObjectStore, get_one_by_one


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """What goes wrong in one operation.

    Attributes:
        delay_s: wait this long first.
        error: called for the error to raise; None raises nothing.
        done: the operation is carried out before the error: its outcome is unknown to the caller.
        keep_bytes: of `create` and `put`: store only so many bytes, then raise. Real stores do
            not do this; readers have to survive it nevertheless.
    """

    delay_s: float = 0.0
    error: Callable[[str], MishardsError] | None = None
    done: bool = False
    keep_bytes: int | None = None


class FaultPlan(Protocol):
    def decide(self, operation: str, key: str) -> Fault | None:
        """The fault of this call of `get`, `create`, `put`, `put_file`, `list` (its key is the
        prefix) or `delete`; None lets it pass. Called once for each call, on the loop's thread."""


class FaultScript:
    """A plan of faults that happen a number of times each, the first that fits first."""

    def __init__(self) -> None:
        self._faults: list[tuple[str, str, Fault, int]] = []

    def add(
        self, fault: Fault, *, operation: str = "*", key: str = "*", times: int = 1
    ) -> FaultScript:
        """Let the next `times` calls fail whose operation and key match (`*` matches all)."""
        self._faults.append((operation, key, fault, times))
        return self

    @property
    def pending(self) -> int:
        """How many faults have not happened yet."""
        return sum(times for _, _, _, times in self._faults)

    def clear(self) -> None:
        self._faults.clear()

    def decide(self, operation: str, key: str) -> Fault | None:
        for position, (operations, keys, fault, times) in enumerate(self._faults):
            if fnmatch.fnmatchcase(operation, operations) and fnmatch.fnmatchcase(key, keys):
                if times > 1:
                    self._faults[position] = (operations, keys, fault, times - 1)
                else:
                    del self._faults[position]
                return fault
        return None


class FaultyStore:
    """Asks a plan before every operation."""

    def __init__(self, store: ObjectStore, plan: FaultPlan, runtime: Runtime) -> None:
        self._store = store
        self._plan = plan
        self._runtime = runtime

    async def get(self, key: str) -> bytes:
        fault = await self._before("get", key)
        data = await self._store.get(key)
        _after(fault, key)
        return data

    async def get_all(self, keys: Sequence[str]) -> list[bytes | None]:
        """Each object is a call of `get` to the plan."""
        return await get_one_by_one(self, keys)

    async def get_part(self, key: str, start: int, size_bytes: int) -> bytes:
        """A call of `get` to the plan."""
        fault = await self._before("get", key)
        data = await self._store.get_part(key, start, size_bytes)
        _after(fault, key)
        return data

    async def create(self, key: str, data: bytes) -> None:
        fault = await self._before("create", key)
        await self._store.create(key, _torn(fault, data))
        _after(fault, key)

    async def put(self, key: str, data: bytes) -> None:
        fault = await self._before("put", key)
        await self._store.put(key, _torn(fault, data))
        _after(fault, key)

    async def put_file(self, key: str, path: Path) -> None:
        fault = await self._before("put_file", key)
        await self._store.put_file(key, path)
        _after(fault, key)

    async def list(self, prefix: str, start_after: str = "") -> list[ObjectInfo]:
        fault = await self._before("list", prefix)
        found = await self._store.list(prefix, start_after)
        _after(fault, prefix)
        return found

    async def delete(self, key: str) -> None:
        fault = await self._before("delete", key)
        await self._store.delete(key)
        _after(fault, key)

    async def delete_all(self, keys: Sequence[str]) -> None:
        """Each object is a call of `delete` to the plan; the first that fails ends it."""
        for key in keys:
            await self.delete(key)

    def local_path(self, key: str) -> Path | None:
        return self._store.local_path(key)

    async def close(self) -> None:
        await self._store.close()

    async def _before(self, operation: str, key: str) -> Fault | None:
        fault = self._plan.decide(operation, key)
        if fault is None:
            return None
        if fault.delay_s:
            await self._runtime.sleep(fault.delay_s)
        if fault.error is not None and not fault.done and fault.keep_bytes is None:
            raise fault.error(f"injected fault: {operation} of {key!r}")
        return fault


def _torn(fault: Fault | None, data: bytes) -> bytes:
    return data if fault is None or fault.keep_bytes is None else data[: fault.keep_bytes]


def _after(fault: Fault | None, key: str) -> None:
    if fault is None:
        return
    if fault.error is not None:
        raise fault.error(f"injected fault after the operation on {key!r}")
    if fault.keep_bytes is not None:
        raise StorageError(f"injected fault: {key!r} was cut after {fault.keep_bytes} bytes")
