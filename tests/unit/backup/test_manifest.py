"""Manifests of backups: round trip, and every change of their bytes is found."""

from __future__ import annotations

import msgspec
import pytest

from mishards.backup.manifest import (
    Backup,
    BackupFile,
    CollectionBackup,
    LogCut,
    TailPart,
    check_backup_name,
    decode_backup,
    encode_backup,
)
from mishards.core.checksum import crc32
from mishards.core.errors import CorruptObject, InvalidParameter
from mishards.core.ids import CollectionId, DatabaseId, EntrySeq, LogId, MetadataVersion, Timestamp
from mishards.metadata.models import CollectionMeta, DatabaseMeta
from mishards.testing.writer_bench import make_schema


def make_backup() -> Backup:
    meta = CollectionMeta(
        id=CollectionId(7), database_id=DatabaseId(1), schema=make_schema(), partitions=()
    )
    return Backup(
        name="b",
        run="r",
        cluster="",
        created_ms=5,
        metadata_version=MetadataVersion(3),
        cuts=(LogCut(log_id=LogId(0), seq=EntrySeq(9), timestamp=Timestamp(77)),),
        databases=(DatabaseMeta(id=DatabaseId(1), name="default"),),
        collections=(
            CollectionBackup(
                database="default",
                meta=meta,
                files=(BackupFile(path="8/columns.arrow", size_bytes=5, checksum=6),),
                tail=(TailPart(key="tails/b/r/7/000001", size_bytes=3, checksum=4, rows=2),),
            ),
        ),
    )


def test_a_manifest_comes_back_as_it_was() -> None:
    backup = make_backup()
    found = decode_backup(encode_backup(backup), "x")
    assert found == backup
    assert (found.timestamp, found.rows, found.size_bytes) == (77, 2, 8)


def test_a_change_of_any_byte_is_found_and_named() -> None:
    data = encode_backup(make_backup())
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1
        with pytest.raises(CorruptObject, match="backups/b"):
            decode_backup(bytes(changed), "backups/b")


@pytest.mark.parametrize("keep", [0, 1, 20, -1])
def test_a_cut_manifest_is_found(keep: int) -> None:
    with pytest.raises(CorruptObject, match="backups/b"):
        decode_backup(encode_backup(make_backup())[:keep], "backups/b")


def test_another_format_version_is_named() -> None:
    body = msgspec.json.encode({"format_version": 9, "what": "ever"})
    data = b'{"checksum":%d,"backup":%s}' % (crc32(body), body)
    with pytest.raises(CorruptObject, match="format version 9; this release reads 1"):
        decode_backup(data, "b")


@pytest.mark.parametrize("name", ["", ".a", "a/b", "a b", "ä", "x" * 101])
def test_names_that_cannot_be_keys_are_refused(name: str) -> None:
    with pytest.raises(InvalidParameter, match="invalid name of a backup"):
        check_backup_name(name)


@pytest.mark.parametrize("name", ["a", "2026-11-24T04.45Z", "_x", "-", "x" * 100])
def test_names_that_can_be_keys_are_taken(name: str) -> None:
    check_backup_name(name)
