"""What is known of each log: its lease, its recorded epoch, and what of it lies on storage."""

from __future__ import annotations

import asyncio

import msgspec

from mishards.core.errors import MetadataUnavailable
from mishards.core.ids import EntrySeq, LogId, MetadataVersion
from mishards.discovery.election import Election
from mishards.doctor.findings import Trouble
from mishards.doctor.reach import Limits
from mishards.metadata.models import LogMeta
from mishards.metadata.protocol import MetadataStore
from mishards.metadata.snapshot import MetadataSnapshot
from mishards.storage.protocol import ObjectStore


class LogFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One log.

    Attributes:
        holder: of its lease; empty for nobody, None where that could not be read.
        epoch: the newest that the database knows of; None where that could not be read.
        entries, size_bytes: that lie on storage.
        replay_entries, replay_bytes: of them, those that the next leader has to read.
        problem: why storage or election were not read; empty where they were.
    """

    meta: LogMeta
    holder: str | None = None
    epoch: int | None = None
    entries: int = 0
    size_bytes: int = 0
    replay_entries: int = 0
    replay_bytes: int = 0
    problem: str = ""


async def look_at_logs(
    snapshot: MetadataSnapshot,
    store: ObjectStore | Trouble,
    metadata: MetadataStore | Trouble,
    election: Election | Trouble,
    limits: Limits,
) -> tuple[LogFacts, ...]:
    """Look at each log that metadata names."""
    looks = [_look(log, store, metadata, election, limits) for log in snapshot.logs.values()]
    return tuple(await asyncio.gather(*looks))


async def _look(
    log: LogMeta,
    store: ObjectStore | Trouble,
    metadata: MetadataStore | Trouble,
    election: Election | Trouble,
    limits: Limits,
) -> LogFacts:
    facts = LogFacts(meta=log)
    if not isinstance(election, Trouble):
        lease = await limits.within("the election", election.look(log.id))
        if isinstance(lease, Trouble):
            facts = msgspec.structs.replace(facts, problem=lease.message)
        else:
            facts = msgspec.structs.replace(facts, holder=lease.holder)
    else:
        facts = msgspec.structs.replace(facts, problem=election.message)
    if not isinstance(metadata, Trouble):
        epoch = await limits.within("the database", metadata.epoch(log.id))
        facts = msgspec.structs.replace(facts, epoch=None if isinstance(epoch, Trouble) else epoch)
    if isinstance(store, Trouble):
        return facts
    sizes = await limits.within("storage", _sizes(store, log.id))
    if isinstance(sizes, Trouble):
        return msgspec.structs.replace(facts, problem=sizes.message)
    replayed = [size for seq, size in sizes.items() if seq >= log.replay_from]
    return msgspec.structs.replace(
        facts,
        entries=len(sizes),
        size_bytes=sum(sizes.values()),
        replay_entries=len(replayed),
        replay_bytes=sum(replayed),
    )


async def _sizes(store: ObjectStore, log_id: LogId) -> dict[EntrySeq, int]:
    """Bytes of each entry that lies on storage."""
    prefix = f"log/{log_id}/"
    found = {}
    for info in await store.list(prefix):
        name = info.key.removeprefix(prefix)
        if name.isdecimal():
            found[EntrySeq(int(name))] = info.size_bytes
    return found


async def read_snapshot(metadata: MetadataStore | Trouble) -> MetadataSnapshot:
    """All metadata.

    Raises:
        MetadataUnavailable, CorruptObject: it cannot be read.
    """
    if isinstance(metadata, Trouble):
        raise MetadataUnavailable(metadata.message)
    return MetadataSnapshot.empty().apply(await metadata.changes(MetadataVersion(0)))
