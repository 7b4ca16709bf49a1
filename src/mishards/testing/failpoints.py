"""A crash before and after every durable step that nodes take: R16.

The stores of simulated nodes see each step and give it a name (`testing.steps`), so the steps need
no marks in the code: `survey` finds all that a busy cluster takes. Invariants: a survey and a crash
under the same seed run alike up to the crash; every point is a step's name after `before` or
`after`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec

from mishards.core.ids import LogId
from mishards.metadata.models import DEFAULT_DATABASE
from mishards.rpc.messages import CreateIndex, Ddl, DropIndex, Load, Release
from mishards.storage.pins import pinned
from mishards.testing.client import Client
from mishards.testing.clock import VirtualRuntime, run_virtual
from mishards.testing.cluster import ClusterLayout, Failpoint, SimulatedCluster
from mishards.testing.history import VECTOR_FIELD
from mishards.testing.processes import Process
from mishards.testing.remote import RemoteStore, storage_service
from mishards.testing.run import Run
from mishards.testing.shape import COLLECTION, Shape
from mishards.testing.violation import Violation
from mishards.testing.workload import side_collection

HOSTS: dict[str, tuple[str, ...]] = {
    "writer-1": ("writer",),
    "writer-2": ("writer",),
    "reader-1": ("reader",),
    "reader-2": ("reader",),
    "proxy-1": ("proxy",),
}
STEPS = (
    "lease: claim",
    "lease: leave to an heir",
    "lease: renew",
    "metadata: begin epoch",
    "metadata: commit -collection, ddl",
    "metadata: commit -segment, collection, segment",
    "metadata: commit -segment, segment",
    "metadata: commit collection, ddl",
    "metadata: commit collection, log, segment",
    "metadata: commit database, log",
    "metadata: commit log",
    "metadata: commit segment",
    "registry: announce",
    "registry: withdraw",
    "storage: create log",
    "storage: create metadata",
    "storage: delete arrow",
    "storage: delete deletes",
    "storage: delete index",
    "storage: delete log",
    "storage: delete manifest",
    "storage: delete pins",
    "storage: delete vectors",
    "storage: put pins",
    "storage: put_file arrow",
    "storage: put_file deletes",
    "storage: put_file index",
    "storage: put_file manifest",
    "storage: put_file vectors",
)
"""Every durable step of the script; a survey that finds another one says that it is new."""
_SHAPE = Shape(index="IVF_FLAT")
_SEED = "failpoints"
_TIMEOUT_S = 4.0
_DOWN_S = 0.3
_PIN_S = 1.0
_REMOVED_WITHIN_S = 2.0
_ROUNDS = 8
_MOST_TRIES = 5


def survey(folder: Path) -> Counter[str]:
    """Run without a crash: every point that was passed, and how often.

    Raises:
        AssertionError: an invariant is broken without any crash.
    """
    passed: Counter[str] = Counter()
    wrong = run_virtual(_run(folder, lambda process, point: passed.update([point])))
    assert not wrong, "\n".join(map(str, wrong))
    return passed


def crash(folder: Path, point: str, time: int) -> tuple[bool, list[Violation]]:
    """Run, and let a node die when it passes a point for the `time`-th time; whether it came to
    that, and what is broken after its restart."""
    passed = 0
    clusters: list[SimulatedCluster] = []

    def die(process: Process, at: str) -> None:
        nonlocal passed
        if at != point:
            return
        passed += 1
        if passed == time:
            host = process.name.partition(".")[0]
            if host in HOSTS:
                clusters[0].kill(host, _DOWN_S)
            process.kill()

    wrong = run_virtual(_run(folder, die, clusters))
    return passed >= time, wrong


async def _run(
    folder: Path, failpoint: Failpoint, clusters: list[SimulatedCluster] | None = None
) -> list[Violation]:
    cluster = SimulatedCluster(_SEED, folder, _layout())
    if clusters is not None:
        clusters.append(cluster)
    cluster.failpoint = failpoint
    run = Run(cluster, _SHAPE)
    return await run.run(lambda: _script(run))


def _layout() -> ClusterLayout:
    """So impatient that all there is to remove is removed during a run."""
    usual = ClusterLayout(hosts=HOSTS)
    return msgspec.structs.replace(
        usual,
        reader=msgspec.structs.replace(usual.reader, retention_s=0.5, housekeeping_s=0.1),
        writer=msgspec.structs.replace(
            usual.writer, token_window_s=0.5, collect_interval_s=0.2, collect_grace_s=0.2
        ),
    )


async def _script(run: Run) -> None:
    """All that makes nodes change something durable, one after the other."""
    client = run.clients.client("script", _TIMEOUT_S)
    for number in range(_ROUNDS):
        for _ in range(3):
            await client.insert()
            await client.upsert()
        await client.delete_keys()
        await client.delete_group()
        await client.flush()
        if number == 0:
            await side_collection(client)
        elif number == 1:
            await run.cluster.hand_over(LogId(0))
        elif number == 2:
            await _pin(run.cluster)
        elif number == 3:
            for leader in await run.cluster.leaders():
                await run.cluster.leave(leader.name)
        elif number == 4:
            await _index_anew(client)
    await asyncio.sleep(_REMOVED_WITHIN_S)


async def _pin(cluster: SimulatedCluster) -> None:
    """Hold removal back for a while, as a backup does."""
    process = Process("backup")
    process.failpoint = cluster.reach
    store = RemoteStore(cluster.store, storage_service(process, f"{_SEED}/backup"))

    async def hold() -> None:
        async with pinned(store, VirtualRuntime(f"{_SEED}/pin"), "backup", ttl_s=_PIN_S):
            await asyncio.sleep(_PIN_S / 2)

    task = process.start(hold())
    await asyncio.wait((task, process.death), return_when=asyncio.FIRST_COMPLETED)
    await process.ended()


async def _index_anew(client: Client) -> None:
    """Drop the index and make it again."""
    database, collection = DEFAULT_DATABASE, COLLECTION
    statements: Sequence[Ddl] = (
        Release(database=database, collection=collection),
        DropIndex(database=database, collection=collection, field=VECTOR_FIELD),
        CreateIndex(
            database=database,
            collection=collection,
            field=VECTOR_FIELD,
            params=_SHAPE.index_params,
        ),
        Load(database=database, collection=collection),
    )
    for statement in statements:
        for _ in range(_MOST_TRIES):
            operation = await client.ddl(statement)
            if operation.outcome in ("ok", "refused"):
                break
