"""Which cluster a data set belongs to: its id, on shared storage and in the metadata database.

Invariants: the object on storage is created once, exclusively, and never changed, so of several
processes that start a data set at once all come to the same id; storage decides, and a database
that is empty, or was lost, takes its id from there. Nothing is named after an id that is refused.
Storage that is empty though the database is not is never named: it would look like the data.
"""

from __future__ import annotations

import random

import msgspec

from mishards.core.checksum import crc32
from mishards.core.errors import (
    ConfigError,
    CorruptObject,
    DataInUse,
    ObjectExists,
    ObjectNotFound,
    StorageUnfit,
)
from mishards.metadata.protocol import MetadataStore
from mishards.storage.protocol import ObjectStore

IDENTITY = "identity.json"
"""Key of the object that names the cluster."""
_MOST_BYTES = 200
_DATA = ("log/", "metadata/", "segments/")


class _Identity(msgspec.Struct, frozen=True):
    """Contents of the object; `checksum` is the CRC-32 of the id, as 8 hexadecimal digits."""

    id: str
    checksum: str


_decoder = msgspec.json.Decoder(_Identity)


async def settle_identity(
    store: ObjectStore, metadata: MetadataStore, configured: str, chance: random.Random
) -> str:
    """The cluster id of a data set, which is given one when it has none; opens `metadata`.

    Args:
        configured: the id that the process was told; empty accepts any.
        chance: makes an id where nobody gave one.

    Raises:
        DataInUse: storage, database and configuration do not name the same cluster; names the ids.
        ConfigError: the id is too long.
        CorruptObject: the object that names the cluster is damaged.
        StorageUnfit: there are commits in the database, and nothing on storage.
        StorageError, MetadataUnavailable: it cannot be told now.
    """
    if (size := len(configured.encode())) > _MOST_BYTES:
        raise ConfigError(f"cluster.id has {size} bytes; up to {_MOST_BYTES} are allowed")
    named = await read_identity(store)
    if named is None:
        known = await metadata.open(configured)
        await _check_not_lost(store, metadata, known)
        named = await _create(store, known or configured or f"{chance.getrandbits(64):016x}")
    if configured not in ("", named):
        raise DataInUse(
            f"the data belongs to cluster {named!r}, not {configured!r}: set cluster.id = "
            f"{named!r}, or choose other data"
        )
    await metadata.open(named)
    return named


async def read_identity(store: ObjectStore) -> str | None:
    """The id on storage; None where there is none.

    Raises:
        CorruptObject: the object is damaged.
        StorageError: it cannot be read now.
    """
    try:
        data = await store.get(IDENTITY)
    except ObjectNotFound:
        return None
    try:
        identity = _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptObject(f"cluster identity {IDENTITY!r} cannot be read: {error}") from error
    if identity.checksum != _checksum(identity.id) or not identity.id:
        raise CorruptObject(
            f"cluster identity {IDENTITY!r} names cluster {identity.id!r}, whose checksum is "
            f"{_checksum(identity.id)}, not {identity.checksum}"
        )
    return identity.id


async def _check_not_lost(store: ObjectStore, metadata: MetadataStore, known: str) -> None:
    """Refuse an empty folder in the place of the data, as is there where a mount is missing."""
    if not known or not (version := await metadata.version()):
        return
    for prefix in _DATA:
        if await store.list(prefix):
            return
    raise StorageUnfit(
        f"shared storage is empty, but the metadata database is that of cluster {known!r} at "
        f"version {version}: is cluster.data the storage of this cluster, and mounted?"
    )


async def _create(store: ObjectStore, cluster_id: str) -> str:
    """Name the data set, unless another process came first; the id it then has."""
    identity = _Identity(cluster_id, _checksum(cluster_id))
    try:
        await store.create(IDENTITY, msgspec.json.encode(identity))
    except ObjectExists:
        return await read_identity(store) or cluster_id
    return cluster_id


def _checksum(cluster_id: str) -> str:
    return f"{crc32(cluster_id.encode()):08x}"
