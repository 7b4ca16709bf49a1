"""The whole look: what is gathered, in which order, and who judges it.

Invariants: what is gathered of one thing has a time limit, and what fails there never ends the
rest; judging is done on what was gathered alone. Nothing is changed by looking, but for what is
tried on storage and removed again.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from mishards.core.config import Loaded
from mishards.core.runtime import Runtime, SystemRuntime
from mishards.doctor import (
    certificates,
    clock,
    database,
    discovery,
    election,
    http,
    log,
    memory,
    ports,
    secrets,
    serving,
    storage,
    versions,
)
from mishards.doctor.findings import Check, Diagnosis, Finding, Trouble, sorted_findings
from mishards.doctor.logs import LogFacts, look_at_logs, read_snapshot
from mishards.doctor.nodes import Entries, NodeFacts, ask_nodes, read_entries
from mishards.doctor.reach import Limits, Reach, open_reach, open_transport
from mishards.metadata.snapshot import MetadataSnapshot
from mishards.server.condition import installed_libraries
from mishards.server.config import Config

LIMIT_S = 10.0
"""How long one thing may take to be looked at."""
FAMILIES = (
    storage,
    database,
    discovery,
    election,
    log,
    serving,
    memory,
    clock,
    versions,
    ports,
    http,
    certificates,
    secrets,
)
_DEFECT = Check(
    "doctor.defect",
    "Did every check come to its end?",
    "what it looks at is not known",
)
_log = logging.getLogger(__name__)


def all_checks() -> tuple[Check, ...]:
    """Every check there is, family by family."""
    found: list[Check] = []
    for family in FAMILIES:
        found += family.CHECKS
    return (*found, _DEFECT)


class Here(msgspec.Struct, frozen=True, kw_only=True):
    """What can be told without the cluster."""

    pairs: tuple[certificates.PairFacts, ...]
    secret_files: tuple[secrets.SecretFile, ...]
    ports: tuple[ports.PortFacts, ...]
    libraries: dict[str, str]


class There(msgspec.Struct, frozen=True, kw_only=True):
    """What services and nodes told."""

    storage: storage.StorageFacts | Trouble
    database: database.DatabaseFacts | Trouble
    entries: Entries | Trouble
    nodes: tuple[NodeFacts, ...]
    snapshot: MetadataSnapshot | Trouble
    logs: tuple[LogFacts, ...]


class Judgement:
    """Collects findings; a judge that fails is a finding itself."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []

    def take(self, judge: Callable[[], Iterable[Finding]]) -> None:
        """Add what `judge` finds, up to where it fails."""
        try:
            for finding in judge():
                self.findings.append(finding)
        except Exception as error:  # one check with a defect never hides what others found
            _log.exception("a check ended with an error")
            self.findings.append(
                _DEFECT.failure(f"a check ended with {error!r}", "report this as a defect")
            )


async def examine(
    loaded: Loaded[Config],
    file: Path | None = None,
    *,
    config_only: bool = False,
    limit_s: float = LIMIT_S,
) -> tuple[Diagnosis, bool]:
    """Look everything over.

    Args:
        file: the configuration file, where there is one.
        config_only: connect to nothing: look at settings, files and ports of this machine.
        limit_s: how long one thing may take to be looked at.

    Returns:
        What was found, and whether a thread of this process still waits for something that does
        not answer: such a process has to be ended without it.
    """
    runtime = SystemRuntime(threads=4)
    began_s = runtime.monotonic_s()
    limits = Limits(runtime, limit_s)
    judgement = Judgement()
    here = await _look_here(loaded, file, runtime)
    there = None if config_only else await _look_there(loaded.config, limits)
    _judge(judgement, loaded.config, here, there, runtime.now_ms())
    diagnosis = Diagnosis(
        cluster=_cluster(there),
        seconds=runtime.monotonic_s() - began_s,
        findings=sorted_findings(judgement.findings),
    )
    if not limits.left_behind:
        await runtime.close()
    return diagnosis, limits.left_behind


async def _look_here(loaded: Loaded[Config], file: Path | None, runtime: Runtime) -> Here:
    def look() -> Here:
        config = loaded.config
        return Here(
            pairs=certificates.look_at_certificates(config),
            secret_files=secrets.look_at_secret_files(config, loaded.origins, file),
            ports=ports.look_at_ports(config),
            libraries=installed_libraries(),
        )

    return await runtime.blocking(look)


async def _look_there(config: Config, limits: Limits) -> There:
    runtime = limits.runtime
    reach = await open_reach(config, limits)
    try:
        found_storage, found_database, entries, snapshot = await asyncio.gather(
            limits.within("storage", storage.look_at_storage(config, reach.store, runtime)),
            limits.within(
                "the metadata database",
                database.look_at_database(
                    config.metadata_url, reach.metadata, reach.store, runtime
                ),
            ),
            limits.within(
                "the registry", read_entries(reach.registry, runtime, config.node.heartbeat_s)
            ),
            limits.within("the metadata database", read_snapshot(reach.metadata)),
        )
        nodes = await _ask(
            config,
            runtime,
            entries,
            _named(found_storage, found_database, config),
            limits.seconds / 2,
        )
        logs = await _logs(snapshot, reach, limits)
    finally:
        await reach.close(runtime)
    return There(
        storage=found_storage,
        database=found_database,
        entries=entries,
        nodes=nodes,
        snapshot=snapshot,
        logs=logs,
    )


async def _ask(
    config: Config, runtime: Runtime, entries: Entries | Trouble, cluster: str, ask_s: float
) -> tuple[NodeFacts, ...]:
    if isinstance(entries, Trouble):
        return ()
    transport = open_transport(config, runtime, cluster)
    try:
        return await ask_nodes(entries, transport, runtime, ask_s)
    finally:
        if not isinstance(transport, Trouble):
            await transport.close()


async def _logs(
    snapshot: MetadataSnapshot | Trouble, reach: Reach, limits: Limits
) -> tuple[LogFacts, ...]:
    if isinstance(snapshot, Trouble):
        return ()
    return await look_at_logs(snapshot, reach.store, reach.metadata, reach.election, limits)


def _judge(
    judgement: Judgement, config: Config, here: Here, there: There | None, now_ms: int
) -> None:
    nodes = () if there is None else there.nodes
    if there is not None:
        snapshot = None if isinstance(there.snapshot, Trouble) else there.snapshot
        collections = 0 if snapshot is None else len(snapshot.collections)
        judgement.take(lambda: storage.judge_storage(there.storage, config))
        judgement.take(lambda: database.judge_database(there.database))
        judgement.take(lambda: discovery.judge_discovery(there.entries, nodes, config))
        judgement.take(lambda: election.judge_election(nodes, there.logs))
        judgement.take(lambda: log.judge_log(nodes, there.logs, config, collections))
        if snapshot is not None:
            judgement.take(lambda: serving.judge_serving(snapshot, nodes, now_ms))
        judgement.take(lambda: memory.judge_memory(snapshot, nodes))
        judgement.take(lambda: clock.judge_clocks(nodes, there.storage, there.database))
    bounds = versions.supported_bounds()
    judgement.take(lambda: versions.judge_versions(here.libraries, nodes, bounds))
    judgement.take(lambda: ports.judge_ports(here.ports, nodes, socket.gethostname()))
    judgement.take(lambda: http.judge_http(config, nodes))
    judgement.take(lambda: certificates.judge_certificates(here.pairs, config, now_ms / 1000))
    judgement.take(lambda: secrets.judge_secrets(config, here.secret_files, nodes))


def _named(
    found_storage: storage.StorageFacts | Trouble,
    found_database: database.DatabaseFacts | Trouble,
    config: Config,
) -> str:
    """The cluster's id, by whoever knows it."""
    if not isinstance(found_storage, Trouble) and found_storage.identity:
        return found_storage.identity
    if not isinstance(found_database, Trouble) and found_database.cluster:
        return found_database.cluster
    return config.cluster.id


def _cluster(there: There | None) -> str:
    if there is None:
        return ""
    if not isinstance(there.storage, Trouble) and there.storage.identity:
        return there.storage.identity
    return "" if isinstance(there.database, Trouble) else there.database.cluster
