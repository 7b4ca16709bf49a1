"""The manifest of a segment: what it holds, and the size and checksum of each of its files.

Invariants: it is written last, so a segment with a manifest is whole; indexes are not in it, they
are added later and named by the metadata. JSON, so that an operator can read it, with a checksum
of its own bytes, so that no change of them goes unnoticed.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from mishards.core.checksum import crc32
from mishards.core.errors import CorruptObject, SegmentNotFound, StorageError
from mishards.core.ids import CollectionId, PartitionId, SegmentId, Timestamp
from mishards.metadata.models import ColumnStatistics
from mishards.segments.layout import MANIFEST

FORMAT_VERSION = 2
_WITHOUT_CHECKSUM = 1
"""Format of manifests that carry no checksum; otherwise the same."""
_READ_BYTES = 1 << 20
_CHECKSUM = b'"checksum": "'
_UNKNOWN = b"0" * 8


class FileInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Size and CRC-32 of a file."""

    size_bytes: int
    checksum: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """See the module.

    Attributes:
        low_key, high_key: the primary keys' range.
        checksum: CRC-32 of the manifest's bytes with zeros in this place, as 8 hexadecimal
            digits; the last of the fields.
    """

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
    checksum: str = _UNKNOWN.decode()


_decoder = msgspec.json.Decoder(Manifest)


def encode_manifest(manifest: Manifest) -> bytes:
    """Its bytes, in the newest format and with their checksum."""
    manifest = msgspec.structs.replace(
        manifest, format_version=FORMAT_VERSION, checksum=_UNKNOWN.decode()
    )
    data = msgspec.json.format(msgspec.json.encode(manifest))
    place = _checksum_place(data)
    return data[:place] + b"%08x" % crc32(data) + data[place + len(_UNKNOWN) :]


def write_manifest(folder: Path, manifest: Manifest) -> int:
    """Write it durably; gives its size in bytes."""
    data = encode_manifest(manifest)
    with (folder / MANIFEST).open("wb") as file:
        file.write(data)
        file.flush()
        sync_file(file.fileno())
    return len(data)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the segment in `folder`.

    Raises:
        SegmentNotFound: there is none; names the file.
        CorruptObject: as `decode_manifest`.
        StorageError: it cannot be read.
    """
    path = folder / MANIFEST
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise SegmentNotFound(f"segment file {path} is missing") from None
    except OSError as error:
        raise StorageError(f"segment manifest {path} cannot be read: {error}") from error
    return decode_manifest(data, str(path))


def decode_manifest(data: bytes, name: str) -> Manifest:
    """The manifest of its bytes; `name` is for messages.

    Raises:
        CorruptObject: it is no manifest, of a version that this code does not read, or its bytes
            are not those that were written.
    """
    try:
        manifest = _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptObject(f"segment manifest {name} cannot be read: {error}") from error
    if not _WITHOUT_CHECKSUM <= manifest.format_version <= FORMAT_VERSION:
        raise CorruptObject(
            f"segment manifest {name} is of format version {manifest.format_version}; this "
            f"version of Mishards reads from {_WITHOUT_CHECKSUM} to {FORMAT_VERSION}"
        )
    place = _checksum_place(data)
    if place < 0:
        if manifest.format_version == _WITHOUT_CHECKSUM:
            return manifest
        raise CorruptObject(f"segment manifest {name} carries no checksum")
    expected = data[place : place + len(_UNKNOWN)]
    found = b"%08x" % crc32(data[:place] + _UNKNOWN + data[place + len(_UNKNOWN) :])
    if found != expected:
        raise CorruptObject(
            f"segment manifest {name} has checksum {found.decode()}; "
            f"it says {expected.decode(errors='replace')}"
        )
    return manifest


def _checksum_place(data: bytes) -> int:
    """Where the checksum's digits begin; -1 where there is none. Nothing follows it that could
    be taken for it."""
    found = data.rfind(_CHECKSUM)
    return found if found < 0 else found + len(_CHECKSUM)


def check_sizes(folder: Path, manifest: Manifest) -> None:
    """Compare the sizes of all files with the manifest.

    Raises:
        SegmentNotFound: a file is missing; names it.
        CorruptObject: a file has another size; names it.
        StorageError: the system failed to say; names the file.
    """
    for name, info in manifest.files.items():
        path = folder / name
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            raise SegmentNotFound(f"segment file {path} is missing") from None
        except OSError as error:
            raise StorageError(f"segment file {path} cannot be read: {error}") from error
        if size != info.size_bytes:
            raise CorruptObject(
                f"segment file {path} has {size} bytes; its manifest says {info.size_bytes}"
            )


def verify_segment(folder: Path) -> Manifest:
    """Read every file of the segment and compare checksums; gives the manifest.

    Raises:
        SegmentNotFound: a file is missing; names it.
        CorruptObject: a file differs from its size or checksum; names it.
        StorageError: a file cannot be read; names it.
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
        StorageError: it cannot be read; names it.
    """
    try:
        size = path.stat().st_size
        # A file of another size is not read: it may be large.
        found = file_info(path) if size == expected.size_bytes else None
    except (FileNotFoundError, NotADirectoryError):
        raise SegmentNotFound(f"segment file {path} is missing") from None
    except OSError as error:
        raise StorageError(f"segment file {path} cannot be read: {error}") from error
    if found is None:
        raise CorruptObject(
            f"segment file {path} has {size} bytes; {expected.size_bytes} are expected"
        )
    check_info(found, expected, f"segment file {path}")


def unreadable(name: str, error: Exception) -> StorageError:
    """What an error at opening a file says: that the system failed, which may pass, or that the
    file is damaged. Arrow's errors about contents are `OSError`s too, but without a number."""
    failed = isinstance(error, OSError) and error.errno is not None
    kind = StorageError if failed else CorruptObject
    return kind(f"{name} cannot be read: {error}")


def check_bytes(data: bytes, expected: FileInfo, name: str) -> None:
    """Compare the bytes of an object with what was noted when it was written.

    Raises:
        CorruptObject: they differ; `name` is for the message.
    """
    check_info(FileInfo(size_bytes=len(data), checksum=crc32(data)), expected, name)


def check_info(found: FileInfo, expected: FileInfo, name: str) -> None:
    """Compare what was found with what was noted. Raises as `check_bytes`."""
    if found != expected:
        raise CorruptObject(
            f"{name} has {found.size_bytes} bytes with checksum {found.checksum:08x}; "
            f"{expected.size_bytes} with {expected.checksum:08x} are expected"
        )


def file_info(path: Path) -> FileInfo:
    """Size and checksum of a file, read in blocks.

    Read, not mapped: a disk that fails then raises an error instead of ending the process.
    """
    size = checksum = 0
    block = memoryview(bytearray(_READ_BYTES))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(block):
            size += count
            checksum = crc32(block[:count], checksum)
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
