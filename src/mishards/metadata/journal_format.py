"""The objects of the metadata journal, and their bytes.

Layout, little-endian: a fixed head (magic, format version, kind, length of the body, CRC-32 of the
body, CRC-32 of the head), then the body as MessagePack.

Invariants: every bit is under one of the two checksums; an object that is merely cut short, so
that whoever created it was told of a failure, is told from one that is damaged.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Mapping
from typing import TypeVar

import msgspec

from mishards.core.checksum import crc32
from mishards.core.errors import CorruptObject
from mishards.core.ids import Epoch, LogId, MetadataVersion

FORMAT_VERSION = 1
_MAGIC = b"MSMJ"
_HEAD = struct.Struct("<4sHHQI")
_CHECKSUM = struct.Struct("<I")
_BODY = _HEAD.size + _CHECKSUM.size


class TornJournal(CorruptObject):
    """The object ends too early: creating it failed, and nothing was done on the strength of it."""


class Kind(enum.IntEnum):
    """What an object holds."""

    ENTRY = 1
    SNAPSHOT = 2


class JournalEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One commit: what leads from the version before `version` to it.

    Attributes:
        attempt: 0, or one more than that of an entry for the same version that certainly never
            was, nor ever will be, committed.
        log_id, epoch: the reign that it is committed under.
    """

    version: MetadataVersion
    attempt: int = 0
    log_id: LogId
    epoch: Epoch
    puts: Mapping[str, bytes] = {}
    deletes: tuple[str, ...] = ()

    def at(self, attempt: int) -> JournalEntry:
        """The same at another attempt."""
        return msgspec.structs.replace(self, attempt=attempt)


class JournalSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """All records of one version."""

    version: MetadataVersion
    records: Mapping[str, bytes]


T = TypeVar("T", JournalEntry, JournalSnapshot)

_encoder = msgspec.msgpack.Encoder()
_kinds: dict[type[JournalEntry] | type[JournalSnapshot], Kind] = {
    JournalEntry: Kind.ENTRY,
    JournalSnapshot: Kind.SNAPSHOT,
}
_entries = msgspec.msgpack.Decoder(JournalEntry)
_snapshots = msgspec.msgpack.Decoder(JournalSnapshot)


def encode_journal(held: JournalEntry | JournalSnapshot) -> bytes:
    """The bytes of an object."""
    body = _encoder.encode(held)
    head = _HEAD.pack(_MAGIC, FORMAT_VERSION, _kinds[type(held)], len(body), crc32(body))
    return b"".join((head, _CHECKSUM.pack(crc32(head)), body))


def decode_entry(data: bytes, name: str) -> JournalEntry:
    """The entry in `data`; `name` is for errors. Raises as `decode_snapshot`."""
    return _decoded(_entries, _body(data, name, Kind.ENTRY), name)


def decode_snapshot(data: bytes, name: str) -> JournalSnapshot:
    """The snapshot in `data`; `name` is for errors.

    Raises:
        TornJournal: the data ends too early, and what is there is intact as far as it can be told.
        CorruptObject: a checksum does not match, or this release cannot read the data.
    """
    return _decoded(_snapshots, _body(data, name, Kind.SNAPSHOT), name)


def _decoded(decoder: msgspec.msgpack.Decoder[T], body: memoryview, name: str) -> T:
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptObject(f"journal object {name!r} cannot be read: {error}") from error


def _body(data: bytes, name: str, kind: Kind) -> memoryview:
    """Verify length and checksums; the body."""
    if not _MAGIC.startswith(data[: len(_MAGIC)]):
        raise CorruptObject(f"{name!r} is no journal object: it does not start with {_MAGIC!r}")
    if len(data) < _BODY:
        raise TornJournal(f"journal object {name!r} ends after {len(data)} bytes, inside its head")
    _, version, found, size, checksum = _HEAD.unpack_from(data)
    if crc32(data[: _HEAD.size]) != _CHECKSUM.unpack_from(data, _HEAD.size)[0]:
        raise CorruptObject(f"journal object {name!r} is damaged: its head's checksum is wrong")
    if version != FORMAT_VERSION:
        raise CorruptObject(
            f"journal object {name!r} has format version {version}; this release reads "
            f"{FORMAT_VERSION}"
        )
    if found != kind:
        raise CorruptObject(f"journal object {name!r} is of kind {found}, not {kind}")
    body = memoryview(data)[_BODY:]
    if len(body) < size:
        raise TornJournal(f"journal object {name!r} ends after {len(data)} of {_BODY + size} bytes")
    if len(body) > size or crc32(body) != checksum:
        raise CorruptObject(f"journal object {name!r} is damaged: its checksum is wrong")
    return body
