"""Shared storage: is it reached, does it keep its promises, is there room, and how long does a
commit take?

Invariant: what is tried is written under names of its own and removed again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from statistics import median

import msgspec

from mishards.cluster.identity import read_identity
from mishards.core.errors import (
    ConfigError,
    DiskFull,
    MishardsError,
    StorageError,
    StorageUnfit,
)
from mishards.core.runtime import Runtime
from mishards.core.secret import redact
from mishards.doctor.findings import Check, Finding, Trouble
from mishards.doctor.words import duration, size
from mishards.server.config import Config
from mishards.storage.mounts import check_mount
from mishards.storage.protocol import ObjectStore
from mishards.storage.self_test import PREFIX, self_test

REACHED = Check(
    "storage.reached",
    "Does shared storage answer?",
    "everything that is durable lies there: without it nothing can be written, and only what "
    "readers hold can be searched",
)
FIT = Check(
    "storage.fit",
    "Does it keep the promises that the log rests on, as a writer's start tries them?",
    "a writer does not start on storage that breaks one of them",
)
SPACE = Check(
    "storage.space",
    "Is there room for the log, for flushes and for merges?",
    "without space writes are refused, the log cannot be trimmed, and compaction stands still",
)
OWNER = Check(
    "storage.owner",
    "Does the folder belong to the user who looks?",
    "the answers here are those of this user; nodes of another may be refused what this one may do",
)
LATENCY = Check(
    "storage.commit",
    "How long does a durable write take?",
    "no write is acknowledged faster than that",
)
CHECKS = (REACHED, FIT, SPACE, OWNER, LATENCY)

_COMMITS = 5
_SLOW_S, _VERY_SLOW_S = 0.25, 2.0
_LEAST_FREE_BYTES = 64 << 20
_LEAST_FILES = 1000


class StorageFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What was tried.

    Attributes:
        where: the storage, as the configuration names it, without a password.
        unfit: what it does not do; empty where it does all.
        full: a write was refused for want of space.
        free_bytes, free_files: left for this user; None where that is not told.
        owner: user id of the folder; None where there is no folder.
        clock_offset_ms: the clock by which it dates what is written, less this machine's; None
            where that is not told.
    """

    where: str
    identity: str = ""
    unfit: str = ""
    full: bool = False
    commits_s: tuple[float, ...] = ()
    free_bytes: int | None = None
    free_files: int | None = None
    owner: int | None = None
    user: int = 0
    clock_offset_ms: float | None = None


async def look_at_storage(
    config: Config, store: ObjectStore | Trouble, runtime: Runtime
) -> StorageFacts:
    """Try it.

    Raises:
        ConfigError, StorageError: it cannot be reached.
    """
    if isinstance(store, Trouble):
        raise StorageError(store.message)
    where = redact(config.cluster.data).partition("?")[0]
    facts = StorageFacts(where=where, identity=await read_identity(store) or "")
    if config.has_data_folder:
        facts = await runtime.blocking(_look_at_folder, facts, config.data_folder)
    try:
        if config.has_data_folder:
            await runtime.blocking(check_mount, config.data_folder)
        await self_test(store, store, runtime, where)
        commits, offset_ms = await _commits(store, runtime)
    except DiskFull:
        return msgspec.structs.replace(facts, full=True)
    except (StorageUnfit, StorageError, ConfigError) as error:
        return msgspec.structs.replace(facts, unfit=error.message)
    return msgspec.structs.replace(facts, commits_s=commits, clock_offset_ms=offset_ms)


async def _commits(store: ObjectStore, runtime: Runtime) -> tuple[tuple[float, ...], float | None]:
    """How long durable writes take, and how the storage's clock differs."""
    took: list[float] = []
    offset_ms = None
    for _ in range(_COMMITS):
        key = f"{PREFIX}{runtime.random.getrandbits(96):024x}"
        began_s, before_ms = runtime.monotonic_s(), runtime.now_ms()
        try:
            await store.create(key, b"how long does this take?")
            took.append(runtime.monotonic_s() - began_s)
            path = store.local_path(key)
            if path is not None:
                dated_ms = (await runtime.blocking(path.stat)).st_mtime * 1000
                offset_ms = dated_ms - (before_ms + runtime.now_ms()) / 2
        finally:
            with suppress(MishardsError):
                await store.delete(key)
    return tuple(took), offset_ms


def _look_at_folder(facts: StorageFacts, folder: Path) -> StorageFacts:
    system = os.statvfs(folder)
    return msgspec.structs.replace(
        facts,
        free_bytes=shutil.disk_usage(folder).free,
        free_files=system.f_favail if system.f_files else None,
        owner=folder.stat().st_uid,
        user=os.geteuid(),
    )


def judge_storage(facts: StorageFacts | Trouble, config: Config) -> Iterator[Finding]:
    """What follows from what was tried."""
    if isinstance(facts, Trouble):
        yield REACHED.failure(
            facts.message,
            "mount or start the storage, or correct cluster.data; nodes go on by themselves once "
            "it answers",
        )
        return
    if facts.unfit:
        yield FIT.failure(facts.unfit, "see docs/operations.md, 'What a start tries of storage'")
    elif not facts.full:
        yield FIT.ok(f"{facts.where} keeps all promises")
    if not facts.identity:
        yield REACHED.failure(
            f"{facts.where} holds no cluster: no writer has begun it, or it is other storage",
            "start a writer, or correct cluster.data; where a mount is missing, mount it",
        )
    else:
        yield REACHED.ok(f"{facts.where} holds cluster {facts.identity!r}")
    yield from _space(facts, config)
    if facts.owner is not None and facts.owner != facts.user:
        yield OWNER.note(
            f"it belongs to user {facts.owner}, and this is user {facts.user}",
            "look again as the user of the nodes",
        )
    elif facts.owner is not None:
        yield OWNER.ok("it belongs to this user")
    if facts.commits_s:
        yield _latency(median(facts.commits_s))


def _space(facts: StorageFacts, config: Config) -> Iterator[Finding]:
    todo = (
        "make space from outside, or drop collections; see docs/operations.md, 'When storage is "
        "full'"
    )
    wanted = 2 * config.writer.segment_max_bytes
    if facts.full or (facts.free_bytes is not None and facts.free_bytes < _LEAST_FREE_BYTES):
        left = "none" if facts.free_bytes is None else size(facts.free_bytes)
        yield SPACE.failure(f"{facts.where} is full: {left} left", todo)
    elif facts.free_files is not None and facts.free_files < _LEAST_FILES:
        yield SPACE.failure(f"only {facts.free_files:,} more files can be made there", todo)
    elif facts.free_bytes is None:
        yield SPACE.ok("a write was taken; such storage does not say how much is left")
    elif facts.free_bytes < wanted:
        yield SPACE.warning(
            f"{size(facts.free_bytes)} left; a merge may need {size(wanted)} for a while", todo
        )
    else:
        yield SPACE.ok(f"{size(facts.free_bytes)} left")


def _latency(took_s: float) -> Finding:
    told = f"a durable write takes {duration(took_s)}"
    if took_s > _VERY_SLOW_S:
        return LATENCY.warning(
            told, "look at the load of disk, server and network; storage on SSDs takes about 1 ms"
        )
    return LATENCY.note(told) if took_s > _SLOW_S else LATENCY.ok(told)
