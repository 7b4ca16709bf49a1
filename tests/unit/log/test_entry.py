from __future__ import annotations

import struct
import zlib

import pyarrow as pa
import pytest

from mishards.core.columns import decode_batch, encode_batch
from mishards.core.errors import CorruptObject
from mishards.core.ids import CollectionId, EntrySeq, Epoch, LogId, NodeId, PartitionId, Timestamp
from mishards.log.entry import Entry, Mutation, TornEntry, decode_entry, encode_entry

MUTATION = Mutation(
    token=b"t" * 16,
    collection=CollectionId(7),
    partition=PartitionId(8),
    timestamp=Timestamp(99),
    rows=b"rows" * 30,
    row_count=4,
    keys=b"keys",
    key_count=2,
    auto_id_start=1000,
)
ENTRY = Entry(
    log_id=LogId(3),
    seq=EntrySeq(12),
    epoch=Epoch(2),
    timestamp=Timestamp(100),
    mutations=(MUTATION, MUTATION),
    leader=NodeId("writer-1"),
    skips=(EntrySeq(11),),
)


def test_comes_back_as_it_was() -> None:
    assert decode_entry(encode_entry(ENTRY), "log/3/12") == ENTRY


def test_an_entry_without_mutations_comes_back() -> None:
    empty = Entry(log_id=LogId(0), seq=EntrySeq(1), epoch=Epoch(1), timestamp=Timestamp(0))
    assert decode_entry(encode_entry(empty), "x") == empty


def test_payloads_are_aligned_views_of_the_data() -> None:
    data = encode_entry(ENTRY)
    entry = decode_entry(data, "x")
    for mutation in entry.mutations:
        for payload in (mutation.rows, mutation.keys):
            assert isinstance(payload, memoryview)
            assert payload.obj is data
            assert data.index(bytes(payload)) % 64 == 0


def test_an_arrow_payload_is_read_in_place() -> None:
    batch = pa.record_batch({"id": pa.array([1, 2, 3], pa.int64())})
    mutation = Mutation(
        token=b"", collection=CollectionId(1), timestamp=Timestamp(1), rows=encode_batch(batch)
    )
    entry = Entry(
        log_id=LogId(0),
        seq=EntrySeq(1),
        epoch=Epoch(1),
        timestamp=Timestamp(1),
        mutations=(mutation,),
    )
    data = encode_entry(entry)
    column = decode_batch(decode_entry(data, "x").mutations[0].rows).column(0)
    start = pa.py_buffer(data).address
    assert start <= column.buffers()[1].address < start + len(data)
    assert column.to_pylist() == [1, 2, 3]


@pytest.mark.parametrize("length", [0, 3, 10, 27])
def test_a_cut_head_is_torn(length: int) -> None:
    with pytest.raises(TornEntry, match=r"'log/3/12' ends after \d+ bytes, inside its head"):
        decode_entry(encode_entry(ENTRY)[:length], "log/3/12")


def test_a_cut_body_is_torn() -> None:
    data = encode_entry(ENTRY)
    with pytest.raises(TornEntry, match=f"ends after {len(data) - 1} of {len(data)} bytes"):
        decode_entry(data[:-1], "x")


@pytest.mark.parametrize("data", [b"PNG", b"PNG" * 100, bytes(10), bytes(100)])
def test_something_else_is_no_torn_entry(data: bytes) -> None:
    with pytest.raises(CorruptObject, match="is no log entry") as caught:
        decode_entry(data, "x")
    assert not isinstance(caught.value, TornEntry)


def test_bytes_after_the_end_are_corruption() -> None:
    with pytest.raises(CorruptObject):
        decode_entry(encode_entry(ENTRY) + b"\0", "x")


def test_a_newer_format_is_said_so() -> None:
    head = bytearray(encode_entry(ENTRY)[:24])
    struct.pack_into("<H", head, 4, 2)
    data = bytes(head) + struct.pack("<I", zlib.crc32(head)) + encode_entry(ENTRY)[28:]
    with pytest.raises(CorruptObject, match="format version 2; this release reads 1"):
        decode_entry(data, "x")
