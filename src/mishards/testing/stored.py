"""What lies on storage, compared with what metadata names, I6, and with what it is: its journal."""

from __future__ import annotations

from mishards.core.errors import CorruptObject, StorageError
from mishards.core.ids import LogId, MetadataVersion
from mishards.metadata.journal import Journal
from mishards.metadata.protocol import MetadataStore
from mishards.metadata.replay import replay
from mishards.metadata.snapshot import MetadataSnapshot
from mishards.segments.layout import SEGMENTS
from mishards.segments.manifest import decode_manifest
from mishards.segments.named import NamedObject, ObjectKind, manifest_objects, named_objects
from mishards.storage.protocol import ObjectStore
from mishards.writer.garbage import unreferenced


async def newest_metadata(metadata: MetadataStore) -> MetadataSnapshot:
    """All that is stored."""
    empty = MetadataSnapshot.empty()
    return empty.apply(await metadata.changes(empty.version))


async def lacking(store: ObjectStore, snapshot: MetadataSnapshot) -> list[str]:
    """What metadata names and storage does not hold as it is named; in words."""
    sizes = {info.key: info.size_bytes for info in await store.list(SEGMENTS)}
    wrong = []
    for named in named_objects(snapshot):
        if (said := _differs(named, sizes)) is not None:
            wrong.append(said)
        elif named.kind is ObjectKind.MANIFEST:
            try:
                manifest = decode_manifest(await store.get(named.key), named.key)
            except CorruptObject as error:
                wrong.append(error.message)
            else:
                found = (_differs(part, sizes) for part in manifest_objects(manifest))
                wrong += [said for said in found if said is not None]
    return wrong


async def orphans(store: ObjectStore, snapshot: MetadataSnapshot) -> list[str]:
    """Objects of collections that metadata does not name."""
    keys = [info.key for info in await store.list(SEGMENTS)]
    logs = {LogId(0), *snapshot.logs}
    return sorted(key for log in logs for key in unreferenced(keys, snapshot, log))


async def unjournaled(store: ObjectStore, metadata: MetadataStore) -> list[str]:
    """In what the journal of metadata differs from the metadata, at its version; in words."""
    held = await metadata.changes(MetadataVersion(0))
    try:
        told = await replay(Journal(store), held.version)
    except StorageError as error:
        return [f"the metadata journal cannot be replayed: {error.message}"]
    if told.version != held.version:
        return [f"metadata is at version {held.version}, its journal at {told.version}"]
    records = dict(held.puts)
    return [
        f"{key} is another one in the metadata journal"
        for key in sorted(records.keys() | told.records.keys())
        if records.get(key) != told.records.get(key)
    ]


def _differs(named: NamedObject, sizes: dict[str, int]) -> str | None:
    held = sizes.get(named.key)
    if held is None:
        return f"{named.key} is missing"
    if named.info is not None and held != named.info.size_bytes:
        return f"{named.key} has {held} bytes instead of {named.info.size_bytes}"
    return None
