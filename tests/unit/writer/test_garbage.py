from __future__ import annotations

from mishards.cluster.peers import PeerStatus
from mishards.core.ids import (
    CollectionId,
    DatabaseId,
    IndexId,
    LogId,
    MetadataVersion,
    NodeId,
    PartitionId,
    SegmentId,
    Timestamp,
)
from mishards.discovery.protocol import NodeInfo
from mishards.metadata.models import CollectionMeta, DeleteFile, SegmentIndex, SegmentMeta
from mishards.metadata.snapshot import CollectionView, MetadataSnapshot
from mishards.rpc.messages import StatusReply
from mishards.testing.writer_bench import make_schema
from mishards.writer.garbage import Mark, judge, oldest_in_use, unreferenced

ONE, OTHER = CollectionId(1), CollectionId(2)


def view(collection: CollectionId, log: int = 0) -> CollectionView:
    index = SegmentIndex(
        index_id=IndexId(5), field="v", name="101.5.9.index", size_bytes=1, checksum=1
    )
    segment = SegmentMeta(
        id=SegmentId(10),
        collection_id=collection,
        partition_id=PartitionId(3),
        rows=1,
        min_ts=Timestamp(1),
        max_ts=Timestamp(1),
        size_bytes=1,
        indexes=(index,),
    )
    file = DeleteFile(
        name="7.arrow", rows=1, min_ts=Timestamp(1), max_ts=Timestamp(1), size_bytes=1, checksum=1
    )
    meta = CollectionMeta(
        id=collection,
        database_id=DatabaseId(1),
        schema=make_schema(f"c{collection}"),
        partitions=(),
        deletes=(file,),
        log_id=LogId(log),
    )
    return CollectionView(meta, {segment.id: segment})


def snapshot(*views: CollectionView) -> MetadataSnapshot:
    return MetadataSnapshot(
        version=MetadataVersion(9), collections={view.id: view for view in views}
    )


NAMED = [
    "segments/1/10/manifest.json",
    "segments/1/10/columns.arrow",
    "segments/1/10/101.vectors",
    "segments/1/10/101.5.9.index",
    "segments/1/deletes/7.arrow",
]
ORPHANS = [
    "segments/1/10/101.5.8.index",
    "segments/1/10/101.4.9.index",
    "segments/1/11/manifest.json",
    "segments/1/deletes/8.arrow",
]
OF_NO_COLLECTION = ["segments/3/10/manifest.json", "segments/3/deletes/7.arrow"]


def test_what_metadata_names_is_referenced_and_nothing_else() -> None:
    found = unreferenced(NAMED + ORPHANS + OF_NO_COLLECTION, snapshot(view(ONE)), LogId(0))
    assert found == ORPHANS + OF_NO_COLLECTION


def test_each_log_judges_its_own_collections_and_the_first_those_that_are_gone() -> None:
    held = snapshot(view(ONE), view(OTHER, log=1))
    keys = ["segments/1/99/x", "segments/2/99/x", "segments/3/99/x"]
    assert unreferenced(keys, held, LogId(0)) == [keys[0], keys[2]]
    assert unreferenced(keys, held, LogId(1)) == [keys[1]]


def test_objects_of_other_makers_are_left_alone() -> None:
    odd = ["segments/readme", "segments/x/10/columns.arrow", "segments/1/x/y", "segments/1/2/3/4"]
    assert unreferenced(odd, snapshot(), LogId(0)) == []


def look(
    found: list[str], marks: dict[str, Mark], now_s: float, *, version: int = 9, oldest: int = 9
) -> tuple[tuple[str, ...], dict[str, Mark]]:
    verdict = judge(
        found,
        marks,
        now_s=now_s,
        grace_s=10.0,
        version=MetadataVersion(version),
        oldest=MetadataVersion(oldest),
    )
    return verdict.remove, verdict.marks


def test_garbage_takes_two_looks_and_the_grace_between_them() -> None:
    removed, marks = look(["a"], {}, 0.0)
    assert removed == ()
    removed, marks = look(["a", "b"], marks, 9.0)
    assert removed == ()
    removed, marks = look(["a", "b"], marks, 10.0)
    assert removed == ("a",)
    removed, _ = look(["a", "b"], marks, 19.0)
    assert removed == ("a", "b")


def test_a_single_look_removes_nothing_whatever_the_grace() -> None:
    verdict = judge(
        ["a"], {}, now_s=1e9, grace_s=0.0, version=MetadataVersion(1), oldest=MetadataVersion(9)
    )
    assert verdict.remove == ()


def test_what_was_referenced_in_between_starts_anew() -> None:
    _, marks = look(["a"], {}, 0.0)
    _, marks = look([], marks, 5.0)
    removed, marks = look(["a"], marks, 20.0)
    assert removed == ()
    removed, _ = look(["a"], marks, 30.0)
    assert removed == ("a",)


def test_a_node_that_reads_older_metadata_holds_removal_back() -> None:
    _, marks = look(["a"], {}, 0.0, version=5)
    assert look(["a"], marks, 60.0, version=8, oldest=4)[0] == ()
    assert look(["a"], marks, 60.0, version=8, oldest=5)[0] == ("a",)


def test_manifests_go_before_what_they_name() -> None:
    keys = ["segments/1/2/columns.arrow", "segments/1/2/manifest.json", "segments/1/1/z"]
    _, marks = look(keys, {}, 0.0)
    removed, _ = look(keys, marks, 10.0)
    assert removed == (keys[2], keys[1], keys[0])


def peer(name: str, roles: tuple[str, ...], oldest: int | None = None, *, answers: bool = True):
    node = NodeInfo(id=NodeId(name), roles=roles, address=f"mem://{name}")
    version = None if oldest is None else MetadataVersion(oldest)
    status = StatusReply(
        node=name, roles=roles, version=MetadataVersion(99), oldest_version=version
    )
    return PeerStatus(node, status if answers else None)


def test_the_node_furthest_behind_counts() -> None:
    nodes = [peer("r1", ("reader",), 7), peer("p", ("proxy",), 6), peer("r2", ("reader",), 9)]
    assert oldest_in_use(nodes) == 6


def test_a_node_that_does_not_answer_or_say_may_read_all() -> None:
    assert oldest_in_use([peer("r1", ("reader",), 7), peer("r2", ("reader",), answers=False)]) == 0
    assert oldest_in_use([peer("r1", ("reader",), 7), peer("starting", ("reader",))]) == 0


def test_writers_read_nothing() -> None:
    assert oldest_in_use([peer("w", ("writer",)), peer("v", ("writer",), answers=False)]) is None
    assert oldest_in_use([peer("w", ("writer",)), peer("r", ("reader",), 3)]) == 3
