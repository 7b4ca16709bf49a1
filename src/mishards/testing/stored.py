"""What lies on storage, compared with what metadata names: I6, from both sides."""

from __future__ import annotations

from mishards.core.errors import CorruptObject
from mishards.core.ids import LogId
from mishards.metadata.protocol import MetadataStore
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
    logs = {LogId(0), *(view.meta.log_id for view in snapshot.collections.values())}
    return sorted(key for log in logs for key in unreferenced(keys, snapshot, log))


def _differs(named: NamedObject, sizes: dict[str, int]) -> str | None:
    held = sizes.get(named.key)
    if held is None:
        return f"{named.key} is missing"
    if named.info is not None and held != named.info.size_bytes:
        return f"{named.key} has {held} bytes instead of {named.info.size_bytes}"
    return None
