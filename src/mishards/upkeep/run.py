"""The commands of upkeep: from a configuration to what was found and done.

Invariant: whatever they raise, they leave no task, connection or lock behind.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import msgspec

from mishards.backup.progress import Progress, Unwatched
from mishards.core.errors import DataInUse, InvalidParameter, MishardsError
from mishards.core.runtime import SystemRuntime
from mishards.discovery.protocol import NodeInfo
from mishards.metadata.journal import Journal
from mishards.rpc.messages import NodeStatus
from mishards.server.config import Config
from mishards.server.seams import Seams, open_plain_seams
from mishards.storage.lock import DataLock
from mishards.upkeep.findings import Inspected
from mishards.upkeep.inspection import Inspection
from mishards.upkeep.repair import RepairReport, repair
from mishards.upkeep.telling import tell_cluster

_ASK_S = 2.0
_THREADS = 4
_ADVICE = "stop all writers first, or repair with --force"


async def run_repair(config: Config, *, dry_run: bool = False, force: bool = False) -> RepairReport:
    """Bring metadata database and journal to one state.

    Args:
        dry_run: only say what would be done.
        force: do it though a writer may live, and where both hold other records.

    Raises:
        ConfigError: there is no such data set.
        DataInUse: a writer lives, or the data belongs to another cluster.
        MishardsError: what `repair.repair` raises.
    """
    config.require_data()
    careful = not dry_run and not force
    async with contextlib.AsyncExitStack() as stack:
        if careful and config.has_data_folder:
            stack.callback(_sole_writer(config).release)
        seams = await stack.enter_async_context(_open(config))
        if careful:
            await _check_no_writer(seams)
        return await repair(seams.metadata, Journal(seams.store), dry_run=dry_run, force=force)


async def run_inspection(
    config: Config,
    progress: Progress | None = None,
    *,
    deep: bool = False,
    rate_bytes_s: float = 0.0,
    report: bool = False,
) -> Inspected:
    """Look at a data set, live or stopped.

    Args:
        deep: read everything and compare checksums.
        rate_bytes_s: most bytes read a second; 0 for no limit.
        report: tell the nodes of what is damaged.

    Raises:
        ConfigError: there is no such data set.
        InvalidParameter: the rate is negative.
        DataInUse: it belongs to another cluster.
        CorruptObject: its identity is damaged.
        StorageError, MetadataUnavailable: try again.
    """
    if rate_bytes_s < 0:
        raise InvalidParameter(f"invalid rate of {rate_bytes_s:g} bytes a second: 0 or more")
    config.require_data()
    async with _open(config) as seams:
        cluster = await seams.metadata.open("")
        inspection = Inspection(
            seams.runtime,
            seams.store,
            seams.metadata,
            progress or Unwatched(),
            deep=deep,
            rate_bytes_s=rate_bytes_s,
        )
        found = await inspection.run(cluster)
        if not report:
            return found
        nodes = await seams.registry.nodes()
        told = await tell_cluster(seams.transport, nodes, found.findings)
        return msgspec.structs.replace(found, repairs=told)


def _sole_writer(config: Config) -> DataLock:
    """The lock that every writer on this machine holds, taken.

    Raises:
        DataInUse: a writer lives; names it.
    """
    lock = DataLock(config.data_folder)
    try:
        lock.acquire()
    except DataInUse as error:
        raise DataInUse(f"{error.message.partition(';')[0]}: {_ADVICE}") from error
    return lock


async def _check_no_writer(seams: Seams) -> None:
    """Ask the writers that the registry knows, on other machines too.

    Raises:
        DataInUse: one of them answers; names it.
    """
    writers = [node for node in await seams.registry.nodes() if "writer" in node.roles]
    answers = await asyncio.gather(*(_lives(seams, node) for node in writers))
    for node, lives in zip(writers, answers, strict=True):
        if lives:
            raise DataInUse(f"writer {node.id} at {node.address} lives: {_ADVICE}")


async def _lives(seams: Seams, node: NodeInfo) -> bool:
    try:
        await seams.transport.channel(node.address).call(NodeStatus(), timeout_s=_ASK_S)
    except MishardsError:
        return False
    return True


@contextlib.asynccontextmanager
async def _open(config: Config) -> AsyncIterator[Seams]:
    runtime = SystemRuntime(threads=_THREADS)
    try:
        seams = await open_plain_seams(config, runtime)
        try:
            yield seams
        finally:
            await seams.close()
    finally:
        await runtime.close()
