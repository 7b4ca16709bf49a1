"""Shared storage, metadata and the registry as one simulated process reaches them.

Invariants: every call takes time both before and after it has its effect, so a process can die
with the effect in place and the answer unseen. What was on its way when its caller died or gave up
may arrive for a short while; after that a dead process has no effect at all. Every call that
changes something durable is a step with a name, which `Process.reach` is told before and after.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from mishards.core.errors import (
    DiskFull,
    MetadataUnavailable,
    MishardsError,
    StorageError,
    Unavailable,
)
from mishards.core.ids import Epoch, LogId, MetadataVersion, NodeId
from mishards.discovery.election import NOBODY, Election, Lease
from mishards.discovery.protocol import NodeInfo, Registry
from mishards.metadata.protocol import Changes, MetadataStore
from mishards.storage.layers.fault import Fault
from mishards.storage.protocol import ObjectInfo, ObjectStore, get_one_by_one
from mishards.testing.processes import OUTSIDE, Process
from mishards.testing.steps import commit_step, lease_step, storage_step

T = TypeVar("T")

_ARRIVES_LATE = 0.3
_LATEST_S = 1.0
_PATIENCE_S = 5.0
"""How long a client of a database waits for an answer before it takes the call for failed."""


class Service:
    """A process's way to one outside service.

    Attributes:
        failing: share of the calls that fail.
        latency_s: longest time a call takes on either way.
        under_way: steps that were asked for and have not got there.
    """

    def __init__(
        self,
        process: Process,
        seed: str,
        error: type[MishardsError],
        patience_s: float | None = None,
    ) -> None:
        """`patience_s`: how long a call may take before it counts as failed; None: for ever."""
        self.failing = 0.0
        self.latency_s = 0.002
        self.random = random.Random(seed)
        self.under_way: list[str] = []
        self._process = process
        self._error = error
        self._patience_s = patience_s
        self._flows = asyncio.Event()
        self._flows.set()

    def stall(self) -> None:
        """Let calls neither succeed nor fail from now on."""
        self._flows.clear()

    def flow(self) -> None:
        """End a stall."""
        self._flows.set()

    def heal(self) -> None:
        """Work well again."""
        self.failing, self.latency_s = 0.0, 0.002
        self.flow()

    async def call(self, work: Callable[[], Awaitable[T]], step: str = "") -> T:
        """Do `work` there; `step` names it where it changes something durable."""
        await self._there(work, step)
        if fails := self.failing > 0 and self.random.random() < self.failing:
            done = self.random.random() < 0.3
            if not done:
                raise self._error("injected: the service failed")
        if step:
            self._process.reach(f"before {step}")
        result = await work()
        if step:
            self._process.reach(f"after {step}")
        await self._pass()
        if fails:
            raise self._error("injected: the answer was lost")
        return result

    async def _there(self, work: Callable[[], Awaitable[T]], step: str) -> None:
        self.under_way.append(step)
        try:
            await self._pass()
        except asyncio.CancelledError:
            if step and self.random.random() < _ARRIVES_LATE:
                delay_s = self.random.uniform(0, _LATEST_S)
                loop = asyncio.get_running_loop()
                loop.call_later(delay_s, self._arrive, work, context=OUTSIDE)
            raise
        finally:
            self.under_way.remove(step)

    def _arrive(self, work: Callable[[], Awaitable[T]]) -> None:
        """A request of somebody who does not wait for it any more takes its effect."""
        coroutine = cast("Coroutine[Any, Any, T]", work())
        task = asyncio.get_running_loop().create_task(coroutine, context=OUTSIDE)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _pass(self) -> None:
        await asyncio.sleep(self.random.uniform(0.0001, self.latency_s))
        if not self._flows.is_set():
            try:
                async with asyncio.timeout(self._patience_s):
                    await self._flows.wait()
            except TimeoutError:
                raise self._error("injected: no answer") from None
        self._process.check()


class StorageFaults:
    """A `FaultPlan`: a share of the calls fail, before or after their effect; a share of failed
    creates leave a torn object. Where storage is full, all that needs space fails."""

    def __init__(self, seed: str) -> None:
        self.failing = 0.0
        self.torn = 0.0
        self.full = False
        self._random = random.Random(seed)

    def heal(self) -> None:
        """Work well again."""
        self.failing, self.torn, self.full = 0.0, 0.0, False

    def decide(self, operation: str, key: str) -> Fault | None:
        if self.full and operation in ("create", "put", "put_file"):
            return Fault(error=DiskFull)
        if not self.failing or self._random.random() >= self.failing:
            return None
        if operation == "create" and self._random.random() < self.torn:
            return Fault(keep_bytes=self._random.randrange(64))
        return Fault(error=StorageError, done=self._random.random() < 0.4)


class RemoteStore:
    """An `ObjectStore` at the other end of a `Service`."""

    def __init__(self, store: ObjectStore, service: Service) -> None:
        self._store = store
        self._service = service

    async def get(self, key: str) -> bytes:
        return await self._service.call(lambda: self._store.get(key))

    async def get_all(self, keys: Sequence[str]) -> list[bytes | None]:
        return await get_one_by_one(self, keys)

    async def get_part(self, key: str, start: int, size_bytes: int) -> bytes:
        return await self._service.call(lambda: self._store.get_part(key, start, size_bytes))

    async def create(self, key: str, data: bytes) -> None:
        await self._service.call(lambda: self._store.create(key, data), storage_step("create", key))

    async def put(self, key: str, data: bytes) -> None:
        await self._service.call(lambda: self._store.put(key, data), storage_step("put", key))

    async def put_file(self, key: str, path: Path) -> None:
        await self._service.call(
            lambda: self._store.put_file(key, path), storage_step("put_file", key)
        )

    async def list(self, prefix: str, start_after: str = "") -> list[ObjectInfo]:
        return await self._service.call(lambda: self._store.list(prefix, start_after))

    async def delete(self, key: str) -> None:
        await self._service.call(lambda: self._store.delete(key), storage_step("delete", key))

    async def delete_all(self, keys: Sequence[str]) -> None:
        """One after the other, as a folder does it, so that a process can die in between."""
        for key in keys:
            await self.delete(key)

    def local_path(self, key: str) -> Path | None:
        return self._store.local_path(key)

    async def close(self) -> None:
        """The store outlives the process."""


class RemoteMetadata:
    """A `MetadataStore` at the other end of a `Service`."""

    def __init__(self, store: MetadataStore, service: Service) -> None:
        self._store = store
        self._service = service

    async def open(self, cluster_id: str) -> str:
        return await self._service.call(lambda: self._store.open(cluster_id))

    async def version(self) -> MetadataVersion:
        return await self._service.call(self._store.version)

    async def changes(self, since: MetadataVersion) -> Changes:
        return await self._service.call(lambda: self._store.changes(since))

    async def begin_epoch(self, log_id: LogId, epoch: Epoch) -> None:
        await self._service.call(
            lambda: self._store.begin_epoch(log_id, epoch), "metadata: begin epoch"
        )

    async def epoch(self, log_id: LogId) -> Epoch:
        return await self._service.call(lambda: self._store.epoch(log_id))

    async def commit(
        self,
        log_id: LogId,
        epoch: Epoch,
        expected: MetadataVersion,
        puts: dict[str, bytes],
        deletes: tuple[str, ...] = (),
    ) -> Changes:
        return await self._service.call(
            lambda: self._store.commit(log_id, epoch, expected, puts, deletes),
            commit_step(puts, deletes),
        )

    async def restore(self, changes: Changes, epochs: Mapping[LogId, Epoch]) -> None:
        await self._service.call(lambda: self._store.restore(changes, epochs), "metadata: restore")

    async def prune(self, before: MetadataVersion) -> None:
        await self._service.call(lambda: self._store.prune(before), "metadata: prune")

    async def close(self) -> None:
        """The store outlives the process."""


class RemoteRegistry:
    """A `Registry` at the other end of a `Service`."""

    def __init__(self, registry: Registry, service: Service) -> None:
        self._registry = registry
        self._service = service

    async def announce(self, node: NodeInfo) -> None:
        await self._service.call(lambda: self._registry.announce(node), "registry: announce")

    async def withdraw(self, node_id: NodeId) -> None:
        await self._service.call(lambda: self._registry.withdraw(node_id), "registry: withdraw")

    async def nodes(self) -> tuple[NodeInfo, ...]:
        return await self._service.call(self._registry.nodes)

    async def close(self) -> None:
        """The registry outlives the process."""


class RemoteElection:
    """An `Election` at the other end of a `Service`."""

    def __init__(self, election: Election, service: Service) -> None:
        self._election = election
        self._service = service

    async def look(self, log_id: LogId) -> Lease:
        return await self._service.call(lambda: self._election.look(log_id))

    async def swap(self, seen: Lease, holder: NodeId, heir: NodeId = NOBODY) -> Lease:
        return await self._service.call(
            lambda: self._election.swap(seen, holder, heir), lease_step(seen, holder, heir)
        )

    async def close(self) -> None:
        """The election outlives the process."""


def storage_service(process: Process, seed: str) -> Service:
    return Service(process, f"{seed}/storage", StorageError)


def metadata_service(process: Process, seed: str) -> Service:
    return Service(process, f"{seed}/metadata", MetadataUnavailable, _PATIENCE_S)


def registry_service(process: Process, seed: str) -> Service:
    return Service(process, f"{seed}/registry", Unavailable, _PATIENCE_S)
