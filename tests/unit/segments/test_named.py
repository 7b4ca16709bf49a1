"""Which objects metadata and manifests name."""

from __future__ import annotations

import msgspec

from mishards.core.ids import CollectionId, IndexId, PartitionId, SegmentId, Timestamp
from mishards.metadata.models import CollectionMeta, DeleteFile, SegmentIndex, encode
from mishards.metadata.protocol import Changes
from mishards.metadata.snapshot import MetadataSnapshot
from mishards.segments.manifest import read_manifest, verify_file
from mishards.segments.named import ObjectKind, manifest_objects, named_objects


def test_every_file_of_a_written_segment_is_named_with_its_checksum(schema, write, rows_of):
    folder, meta = write(rows_of(schema, [1, 2, 3]), [5, 6, 7], schema)
    found = list(manifest_objects(read_manifest(folder)))
    assert {one.key.rpartition("/")[2] for one in found} == {
        path.name for path in folder.iterdir() if path.suffix != ".json"
    }
    for one in found:
        assert one.key.startswith(f"{meta.folder}/")
        assert one.info is not None
        verify_file(folder / one.key.rpartition("/")[2], one.info)
        is_columns = one.key.endswith("columns.arrow")
        assert one.kind is (ObjectKind.COLUMNS if is_columns else ObjectKind.VECTORS)


def test_metadata_names_manifests_indexes_and_deletes(schema, write, rows_of):
    _, meta = write(rows_of(schema, [1]), [5], schema)
    index = SegmentIndex(
        index_id=IndexId(9), field="vector", name="101.9.index", size_bytes=4, checksum=5
    )
    deletes = DeleteFile(
        name="8.arrow",
        rows=1,
        min_ts=Timestamp(1),
        max_ts=Timestamp(2),
        size_bytes=6,
        checksum=7,
        partition_id=PartitionId(0),
    )
    collection = CollectionMeta(
        id=meta.collection_id, database_id=1, schema=schema, partitions=(), deletes=(deletes,)
    )
    segment = msgspec.structs.replace(meta, indexes=(index,))
    changes = Changes(0, 1, puts=tuple((r.key, encode(r)) for r in (collection, segment)))
    named = {one.key: one for one in named_objects(MetadataSnapshot.empty().apply(changes))}
    assert {key: one.kind for key, one in named.items()} == {
        f"{meta.folder}/manifest.json": ObjectKind.MANIFEST,
        f"{meta.folder}/101.9.index": ObjectKind.INDEX,
        f"segments/{meta.collection_id}/deletes/8.arrow": ObjectKind.DELETES,
    }
    found = named[f"{meta.folder}/101.9.index"]
    assert (found.segment_id, found.index_id) == (SegmentId(meta.id), IndexId(9))
    assert found.info is not None
    assert (found.info.size_bytes, found.info.checksum) == (4, 5)
    assert all(one.collection_id == CollectionId(meta.collection_id) for one in named.values())
