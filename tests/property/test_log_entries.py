"""Whatever is cut off or flipped in an entry is found, and the object named."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mishards.core.errors import CorruptObject
from mishards.core.ids import CollectionId, EntrySeq, Epoch, LogId, NodeId, PartitionId, Timestamp
from mishards.log.entry import Entry, Mutation, TornEntry, decode_entry, encode_entry

NAME = "log/0/00000000000000000007"

_counts = st.integers(0, 2**40)
_ids = st.integers(-(2**63), 2**63 - 1)
_mutations = st.builds(
    Mutation,
    token=st.binary(max_size=16),
    collection=_ids.map(CollectionId),
    partition=_ids.map(PartitionId),
    timestamp=_ids.map(Timestamp),
    rows=st.binary(max_size=200),
    row_count=_counts,
    keys=st.binary(max_size=200),
    key_count=_counts,
    auto_id_start=st.none() | _ids,
)
entries = st.builds(
    Entry,
    log_id=_counts.map(LogId),
    seq=_counts.map(EntrySeq),
    epoch=_counts.map(Epoch),
    timestamp=_ids.map(Timestamp),
    mutations=st.lists(_mutations, max_size=4).map(tuple),
    leader=st.text(max_size=20).map(NodeId),
    skips=st.lists(_counts.map(EntrySeq), max_size=3).map(tuple),
)


@given(entries)
def test_every_entry_comes_back(entry: Entry) -> None:
    assert decode_entry(encode_entry(entry), NAME) == entry


@settings(max_examples=25)
@given(entries)
def test_every_truncation_is_torn(entry: Entry) -> None:
    data = encode_entry(entry)
    for length in range(len(data)):
        with pytest.raises(TornEntry) as caught:
            decode_entry(data[:length], NAME)
        assert NAME in caught.value.message


@settings(max_examples=10)
@given(entries)
def test_every_flipped_bit_is_found(entry: Entry) -> None:
    data = bytearray(encode_entry(entry))
    for position in range(len(data)):
        for bit in range(8):
            data[position] ^= 1 << bit
            with pytest.raises(CorruptObject) as caught:
                decode_entry(bytes(data), NAME)
            data[position] ^= 1 << bit
            assert not isinstance(caught.value, TornEntry)
            assert NAME in caught.value.message


@given(entries, st.data())
def test_several_changed_bytes_are_found(entry: Entry, draw: st.DataObject) -> None:
    data = bytearray(encode_entry(entry))
    positions = draw.draw(st.lists(st.integers(0, len(data) - 1), min_size=1, unique=True))
    for position in positions:
        data[position] ^= draw.draw(st.integers(1, 255))
    with pytest.raises(CorruptObject, match=NAME):
        decode_entry(bytes(data), NAME)


@given(st.binary(max_size=300))
def test_any_bytes_are_an_entry_or_an_error(data: bytes) -> None:
    with pytest.raises(CorruptObject, match=NAME):
        decode_entry(data, NAME)
