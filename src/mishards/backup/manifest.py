"""What a backup is: the metadata of its collections, and each object with its checksum.

Invariants: a backup's manifest is written last and never changed, so a backup that has one is
whole; its own bytes are under a checksum too. JSON, so that an operator can read it.
"""

from __future__ import annotations

import re

import msgspec

from mishards.core.checksum import crc32
from mishards.core.errors import CorruptObject, InvalidParameter
from mishards.core.ids import EntrySeq, LogId, MetadataVersion, Timestamp
from mishards.metadata.models import CollectionMeta, DatabaseMeta, SegmentMeta
from mishards.segments.manifest import FileInfo

FORMAT_VERSION = 1
_MOST_NAME_CHARS = 100
_NAME = re.compile(r"[A-Za-z0-9_\-][A-Za-z0-9_\-.]*\Z")


class BackupFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a collection, kept under a key made of its path and checksum.

    Attributes:
        path: below `segments/<collection>/` of the data set it was copied from.
        index: it is an index, which can be built again from the segment.
    """

    path: str
    size_bytes: int
    checksum: int
    index: bool = False

    @property
    def info(self) -> FileInfo:
        return FileInfo(size_bytes=self.size_bytes, checksum=self.checksum)


class TailPart(msgspec.Struct, frozen=True, kw_only=True):
    """Growing mutations of a collection in the form of one log entry: object `key`."""

    key: str
    size_bytes: int
    checksum: int
    rows: int = 0
    keys: int = 0

    @property
    def info(self) -> FileInfo:
        return FileInfo(size_bytes=self.size_bytes, checksum=self.checksum)


class LogCut(msgspec.Struct, frozen=True, kw_only=True):
    """Where a log was cut: all mutations up to `timestamp`, which entries up to `seq` hold."""

    log_id: LogId
    seq: EntrySeq
    timestamp: Timestamp


class CollectionBackup(msgspec.Struct, frozen=True, kw_only=True):
    """One collection: its records, the files they name, and the mutations after its checkpoint."""

    database: str
    meta: CollectionMeta
    segments: tuple[SegmentMeta, ...] = ()
    files: tuple[BackupFile, ...] = ()
    tail: tuple[TailPart, ...] = ()

    @property
    def full_name(self) -> str:
        return f"{self.database}.{self.meta.name}"

    @property
    def rows(self) -> int:
        """Rows stored, those that a delete hides included."""
        return sum(one.rows for one in self.segments) + sum(part.rows for part in self.tail)

    @property
    def size_bytes(self) -> int:
        return sum(f.size_bytes for f in self.files) + sum(p.size_bytes for p in self.tail)


class Backup(msgspec.Struct, frozen=True, kw_only=True):
    """A whole backup.

    Attributes:
        run: of all attempts under this name, the one that made it.
        cluster: id of the cluster it was taken of; empty where that has none.
        warnings: what could not be copied and can be made again: damaged indexes.
    """

    format_version: int = FORMAT_VERSION
    name: str
    run: str
    cluster: str
    created_ms: int
    metadata_version: MetadataVersion
    cuts: tuple[LogCut, ...]
    databases: tuple[DatabaseMeta, ...]
    collections: tuple[CollectionBackup, ...]
    warnings: tuple[str, ...] = ()

    @property
    def timestamp(self) -> Timestamp:
        """The newest mutation it may hold."""
        return max((cut.timestamp for cut in self.cuts), default=Timestamp(0))

    @property
    def rows(self) -> int:
        return sum(one.rows for one in self.collections)

    @property
    def size_bytes(self) -> int:
        return sum(one.size_bytes for one in self.collections)


class _Envelope(msgspec.Struct, frozen=True):
    checksum: int
    backup: msgspec.Raw


class _Version(msgspec.Struct, frozen=True):
    format_version: int


def check_backup_name(name: str) -> None:
    """Refuse a name that cannot be part of an object's key.

    Raises:
        InvalidParameter: names the value and the rule.
    """
    if not _NAME.match(name) or len(name) > _MOST_NAME_CHARS:
        raise InvalidParameter(
            f"invalid name of a backup {name!r}: 1 to {_MOST_NAME_CHARS} ASCII letters, digits "
            "and _-. are allowed, and no dot at the start"
        )


def encode_backup(backup: Backup) -> bytes:
    """The bytes of a manifest."""
    body = msgspec.json.format(msgspec.json.encode(backup))
    return msgspec.json.encode(_Envelope(crc32(body), msgspec.Raw(body)))


def decode_backup(data: bytes, name: str) -> Backup:
    """The manifest in `data`.

    Args:
        name: of the object, for errors.

    Raises:
        CorruptObject: it is damaged, no manifest, or of a version that this code does not read.
    """
    try:
        envelope = msgspec.json.decode(data, type=_Envelope)
        body = bytes(envelope.backup)
        if crc32(body) != envelope.checksum:
            raise CorruptObject(f"backup manifest {name!r} is damaged: its checksum is wrong")
        version = msgspec.json.decode(body, type=_Version).format_version
        if version != FORMAT_VERSION:
            raise CorruptObject(
                f"backup manifest {name!r} has format version {version}; "
                f"this release reads {FORMAT_VERSION}"
            )
        return msgspec.json.decode(body, type=Backup)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptObject(f"backup manifest {name!r} cannot be read: {error}") from error
