"""The manifest of a segment: what it holds, and the size and checksum of each of its files.

Invariants: it is written last, so a segment with a manifest is whole; indexes are not in it, they
are added later and named by the metadata. JSON, so that an operator can read it.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import msgspec

from mishards.core.errors import CorruptObject, SegmentNotFound
from mishards.core.ids import CollectionId, PartitionId, SegmentId, Timestamp
from mishards.metadata.models import ColumnStatistics
from mishards.segments.layout import MANIFEST

FORMAT_VERSION = 1
_READ_BYTES = 1 << 20


class FileInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Size and CRC-32 of a file."""

    size_bytes: int
    checksum: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """See the module. `low_key` and `high_key` are the primary keys' range."""

    format_version: int
    segment_id: SegmentId
    collection_id: CollectionId
    partition_id: PartitionId
    rows: int
    min_ts: Timestamp
    max_ts: Timestamp
    low_key: int | str
    high_key: int | str
    statistics: dict[str, ColumnStatistics]
    files: dict[str, FileInfo]


_decoder = msgspec.json.Decoder(Manifest)


def write_manifest(folder: Path, manifest: Manifest) -> int:
    """Write it durably; gives its size in bytes."""
    data = msgspec.json.format(msgspec.json.encode(manifest))
    with (folder / MANIFEST).open("wb") as file:
        file.write(data)
        sync_file(file.fileno())
    return len(data)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the segment in `folder`.

    Raises:
        SegmentNotFound: there is none; names the file.
        CorruptObject: it is no manifest, or of a version that this code does not read.
    """
    path = folder / MANIFEST
    try:
        manifest = _decoder.decode(path.read_bytes())
    except FileNotFoundError:
        raise SegmentNotFound(f"segment file {path} is missing") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptObject(f"segment manifest {path} cannot be read: {error}") from error
    if manifest.format_version != FORMAT_VERSION:
        raise CorruptObject(
            f"segment manifest {path} is of format version {manifest.format_version}; "
            f"this version of Mishards reads {FORMAT_VERSION}"
        )
    return manifest


def check_sizes(folder: Path, manifest: Manifest) -> None:
    """Compare the sizes of all files with the manifest.

    Raises:
        SegmentNotFound: a file is missing; names it.
        CorruptObject: a file has another size; names it.
    """
    for name, info in manifest.files.items():
        path = folder / name
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            raise SegmentNotFound(f"segment file {path} is missing") from None
        if size != info.size_bytes:
            raise CorruptObject(
                f"segment file {path} has {size} bytes; its manifest says {info.size_bytes}"
            )


def verify_segment(folder: Path) -> Manifest:
    """Read every file of the segment and compare checksums; gives the manifest.

    Raises:
        SegmentNotFound: a file is missing; names it.
        CorruptObject: a file differs from its size or checksum; names it.
    """
    manifest = read_manifest(folder)
    check_sizes(folder, manifest)
    for name, info in manifest.files.items():
        verify_file(folder / name, info)
    return manifest


def verify_file(path: Path, expected: FileInfo) -> None:
    """Read a file and compare it with what was noted when it was written.

    Raises:
        SegmentNotFound: it is missing; names it.
        CorruptObject: it differs; names it.
    """
    try:
        found = file_info(path)
    except FileNotFoundError:
        raise SegmentNotFound(f"segment file {path} is missing") from None
    if found != expected:
        raise CorruptObject(
            f"segment file {path} has {found.size_bytes} bytes with checksum "
            f"{found.checksum:08x}; {expected.size_bytes} with {expected.checksum:08x} are expected"
        )


def file_info(path: Path) -> FileInfo:
    """Size and checksum of a file, read in blocks."""
    size = checksum = 0
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            size += len(block)
            checksum = zlib.crc32(block, checksum)
    return FileInfo(size_bytes=size, checksum=checksum)


def sync_file(descriptor: int) -> None:
    """Wait until what was written is on the disk."""
    os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """Wait until the names in `folder` are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
