"""An entry of the log, and its bytes.

Layout, little-endian: a fixed head (magic, format version, length of the header, length of the
whole, CRC-32 of the body, CRC-32 of the head), a MessagePack header, then the mutations' payloads
as they came, each starting at a multiple of 64 bytes so that Arrow can use them in place.

Invariants: every bit is under one of the two checksums; a decoded payload is a view of the bytes
it was decoded from; an object that is merely cut short is told from one that is damaged.
"""

from __future__ import annotations

import struct
import zlib

import msgspec

from mishards.core.errors import CorruptObject
from mishards.core.ids import CollectionId, EntrySeq, Epoch, LogId, NodeId, PartitionId, Timestamp

FORMAT_VERSION = 1
_MAGIC = b"MSLG"
_HEAD = struct.Struct("<4sHxxIQI")
_CHECKSUM = struct.Struct("<I")
_BODY = _HEAD.size + _CHECKSUM.size
_ALIGNMENT = 64


class TornEntry(CorruptObject):
    """The object ends before the entry does: its writer died, and acknowledged nothing of it."""


class Mutation(msgspec.Struct, frozen=True, kw_only=True):
    """Rows inserted and keys deleted in one step at one timestamp; both together are an upsert.

    Attributes:
        token: 16 bytes, the same in every retry of the call.
        partition: where rows go; where keys are deleted, 0 meaning everywhere.
        rows: Arrow IPC of one record batch, see `core.columns`; empty where there are none.
        keys: Arrow IPC of one record batch with the primary key column; empty where there are none.
        auto_id_start: first of the primary keys given to the rows, where the schema has auto ids.
    """

    token: bytes
    collection: CollectionId
    partition: PartitionId = PartitionId(0)
    timestamp: Timestamp
    rows: bytes | memoryview = b""
    row_count: int = 0
    keys: bytes | memoryview = b""
    key_count: int = 0
    auto_id_start: int | None = None


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One group commit.

    Attributes:
        timestamp: highest so far in the log, at least every mutation's.
        leader: not empty: this entry begins `epoch`, and this node leads it.
        skips: torn entries just before this one, found by the leader that begins its epoch here.
        ceiling: no timestamp beyond this was given away before a later entry is durable, so the
            next leader begins behind it; 0 in logs that say nothing of it.
    """

    log_id: LogId
    seq: EntrySeq
    epoch: Epoch
    timestamp: Timestamp
    mutations: tuple[Mutation, ...] = ()
    leader: NodeId = NodeId("")
    skips: tuple[EntrySeq, ...] = ()
    ceiling: Timestamp = Timestamp(0)


class _MutationHeader(msgspec.Struct, frozen=True, array_like=True):
    token: bytes
    collection: CollectionId
    partition: PartitionId
    timestamp: Timestamp
    row_count: int
    key_count: int
    auto_id_start: int | None
    rows_bytes: int
    keys_bytes: int


class _Header(msgspec.Struct, frozen=True, array_like=True):
    log_id: LogId
    seq: EntrySeq
    epoch: Epoch
    timestamp: Timestamp
    leader: NodeId
    skips: tuple[EntrySeq, ...]
    mutations: tuple[_MutationHeader, ...]
    ceiling: Timestamp = Timestamp(0)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Header)


def encode_entry(entry: Entry) -> bytes:
    """The bytes of an entry; its payloads are copied once."""
    header = _encoder.encode(
        _Header(
            entry.log_id,
            entry.seq,
            entry.epoch,
            entry.timestamp,
            entry.leader,
            entry.skips,
            tuple(_mutation_header(mutation) for mutation in entry.mutations),
            entry.ceiling,
        )
    )
    parts: list[bytes | memoryview] = [header]
    end = _BODY + len(header)
    for mutation in entry.mutations:
        for payload in (mutation.rows, mutation.keys):
            if size := len(payload):
                padding = -end % _ALIGNMENT
                parts += (bytes(padding), payload)
                end += padding + size
    checksum = 0
    for part in parts:
        checksum = zlib.crc32(part, checksum)
    head = _HEAD.pack(_MAGIC, FORMAT_VERSION, len(header), end, checksum)
    return b"".join((head, _CHECKSUM.pack(zlib.crc32(head)), *parts))


def decode_entry(data: bytes | memoryview, name: str) -> Entry:
    """The entry in `data`; its payloads are views of `data`.

    Args:
        name: of the object, for errors.

    Raises:
        TornEntry: the data ends too early, and what is there is intact as far as it can be told.
        CorruptObject: a checksum does not match, or the data is no entry this version can read.
    """
    view = memoryview(data)
    header_bytes = _check(view, name)
    end = _BODY + header_bytes
    try:
        header = _decoder.decode(view[_BODY:end])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptObject(f"log entry {name!r} has an unreadable header: {error}") from error
    mutations = []
    for head in header.mutations:
        payloads: list[bytes | memoryview] = []
        for size in (head.rows_bytes, head.keys_bytes):
            if size:
                start = end + -end % _ALIGNMENT
                end = start + size
                payloads.append(view[start:end])
            else:
                payloads.append(b"")
        mutations.append(
            Mutation(
                token=head.token,
                collection=head.collection,
                partition=head.partition,
                timestamp=head.timestamp,
                rows=payloads[0],
                row_count=head.row_count,
                keys=payloads[1],
                key_count=head.key_count,
                auto_id_start=head.auto_id_start,
            )
        )
    if end != len(view):
        raise CorruptObject(f"log entry {name!r} holds {len(view)} bytes; its header says {end}")
    return Entry(
        log_id=header.log_id,
        seq=header.seq,
        epoch=header.epoch,
        timestamp=header.timestamp,
        mutations=tuple(mutations),
        leader=header.leader,
        skips=header.skips,
        ceiling=header.ceiling,
    )


def _mutation_header(mutation: Mutation) -> _MutationHeader:
    return _MutationHeader(
        mutation.token,
        mutation.collection,
        mutation.partition,
        mutation.timestamp,
        mutation.row_count,
        mutation.key_count,
        mutation.auto_id_start,
        len(mutation.rows),
        len(mutation.keys),
    )


def _check(view: memoryview, name: str) -> int:
    """Verify length and checksums; the length of the header."""
    if len(view) < _BODY:
        if _MAGIC.startswith(bytes(view[: len(_MAGIC)])):
            raise TornEntry(f"log entry {name!r} ends after {len(view)} bytes, inside its head")
        raise CorruptObject(f"{name!r} is no log entry: it does not start with {_MAGIC!r}")
    magic, version, header_bytes, total, checksum = _HEAD.unpack_from(view)
    if magic != _MAGIC:
        raise CorruptObject(f"{name!r} is no log entry: it does not start with {_MAGIC!r}")
    if zlib.crc32(view[: _HEAD.size]) != _CHECKSUM.unpack_from(view, _HEAD.size)[0]:
        raise CorruptObject(f"log entry {name!r} is damaged: the checksum of its head is wrong")
    if version != FORMAT_VERSION:
        raise CorruptObject(
            f"log entry {name!r} has format version {version}; this release reads {FORMAT_VERSION}"
        )
    if len(view) < total:
        raise TornEntry(f"log entry {name!r} ends after {len(view)} of {total} bytes")
    if zlib.crc32(view[_BODY:]) != checksum:
        raise CorruptObject(f"log entry {name!r} is damaged: its checksum is wrong")
    size: int = header_bytes
    return size
