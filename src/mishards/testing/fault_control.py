"""What is to go wrong inside a real process, told through a file that the process looks at.

Invariants: the file is replaced in one step, so a process sees one state or the next; a process
looks at it before every call that a fault may hit, so a change takes effect at once.
"""

from __future__ import annotations

import errno
import fnmatch
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec

from mishards.core.errors import DiskFull, MishardsError, StorageError
from mishards.storage.layers.fault import Fault

CONTROL_VARIABLE = "FAULT_CONTROL"
"""The environment variable that names the file to a process."""

Service = Literal["works", "fails", "stalls"]


class StorageFault(msgspec.Struct, frozen=True, kw_only=True):
    """What goes wrong in calls of the object store.

    Attributes:
        operation: pattern of `get`, `create`, `put`, `put_file`, `list`, `delete`.
        key: pattern of the object's key.
        error: name of an `errno`, as `EIO`; empty for none.
        delay_s: the call takes this much longer.
        done: the call takes effect before it fails.
    """

    operation: str = "*"
    key: str = "*"
    error: str = ""
    delay_s: float = 0.0
    done: bool = False


class FileFault(msgspec.Struct, frozen=True, kw_only=True):
    """What goes wrong in system calls of the store in a folder.

    Attributes:
        call: `write`, which then writes half of what it was given, or `fsync`.
        path: pattern of the file's path.
        error: name of the `errno` it fails with.
    """

    call: Literal["write", "fsync"]
    path: str = "*"
    error: str = "EIO"


class FaultState(msgspec.Struct, frozen=True, kw_only=True):
    """All that goes wrong in one process.

    Attributes:
        routes: by node id the address at which this process is to see that node.
        storage: whether shared storage answers at all; `storage_faults` are for single calls.
        clock_offset_ms: of this process's wall clock.
    """

    routes: dict[str, str] = {}
    storage: Service = "works"
    storage_faults: tuple[StorageFault, ...] = ()
    file_faults: tuple[FileFault, ...] = ()
    metadata: Service = "works"
    registry: Service = "works"
    election: Service = "works"
    clock_offset_ms: int = 0


class FaultControl:
    """The test's end: holds the state of one process and writes it down."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state = FaultState()
        self._write()

    def set(self, **changes: Any) -> None:
        """Change attributes of the state."""
        self.state = msgspec.structs.replace(self.state, **changes)
        self._write()

    def heal(self) -> None:
        """End all faults; routes and the clock stay."""
        state = FaultState(routes=self.state.routes, clock_offset_ms=self.state.clock_offset_ms)
        self.state = state
        self._write()

    def route(self, node: str, address: str) -> None:
        """Let the process see `node` at `address`."""
        self.set(routes=self.state.routes | {node: address})

    def _write(self) -> None:
        fresh = self.path.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(self.state))
        fresh.replace(self.path)


class FaultWatch:
    """The process's end: the state as the file says it, and a `FaultPlan` of its store."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] = (0, 0)
        self._state = FaultState()

    @property
    def state(self) -> FaultState:
        found = self._path.stat()
        seen = (found.st_mtime_ns, found.st_ino)
        if seen != self._seen:
            self._state = msgspec.json.decode(self._path.read_bytes(), type=FaultState)
            self._seen = seen
        return self._state

    def decide(self, operation: str, key: str) -> Fault | None:
        for fault in self.state.storage_faults:
            if fnmatch.fnmatchcase(operation, fault.operation) and fnmatch.fnmatchcase(
                key, fault.key
            ):
                error = storage_error(fault.error) if fault.error else None
                return Fault(delay_s=fault.delay_s, error=error, done=fault.done)
        return None

    def file_error(self, call: str, path: str) -> OSError | None:
        """What a system call on a file is to fail with."""
        for fault in self.state.file_faults:
            if fault.call == call and fnmatch.fnmatchcase(path, fault.path):
                number = getattr(errno, fault.error)
                return OSError(number, f"{os.strerror(number)} (injected)")
        return None


def storage_error(name: str) -> Callable[[str], MishardsError]:
    """What makes the error of a store for an `errno` of that name."""
    number = getattr(errno, name)
    kind = DiskFull if number in (errno.ENOSPC, errno.EDQUOT) else StorageError

    def make(what: str) -> MishardsError:
        return kind(f"{what}: [Errno {number}] {os.strerror(number)}")

    return make
