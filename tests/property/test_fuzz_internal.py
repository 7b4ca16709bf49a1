"""Bytes that no peer should send, and files that no writer left: an error of ours, never more."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mishards.core.columns import arrow_schema, decode_batch, encode_batch
from mishards.core.errors import CorruptObject, MishardsError, ProtocolError, SegmentNotFound
from mishards.core.ids import CollectionId, DatabaseId, FieldId, PartitionId, SegmentId
from mishards.core.schema import CollectionSchema, DataType, FieldSchema, Metric
from mishards.index.registry import family
from mishards.metadata.models import CollectionMeta, PartitionMeta, encode
from mishards.metadata.protocol import Changes
from mishards.metadata.snapshot import MetadataSnapshot
from mishards.rpc import frames
from mishards.rpc.handshake import Hello, read_hello
from mishards.rpc.messages import Query, ReadPoint, Write
from mishards.segments.deletes import read_deletes, write_deletes
from mishards.segments.layout import MANIFEST
from mishards.segments.manifest import file_info, verify_file
from mishards.segments.read import open_segment
from mishards.segments.write import write_segment
from mishards.writer.admission import check_write

SCHEMA = CollectionSchema(
    name="c",
    fields=(
        FieldSchema(id=FieldId(100), name="id", type=DataType.INT64, primary_key=True),
        FieldSchema(id=FieldId(101), name="v", type=DataType.FLOAT_VECTOR, dim=2),
        FieldSchema(id=FieldId(102), name="text", type=DataType.VARCHAR, max_length=9),
        FieldSchema(id=FieldId(103), name="doc", type=DataType.JSON, nullable=True),
        FieldSchema(
            id=FieldId(104),
            name="tags",
            type=DataType.ARRAY,
            element_type=DataType.VARCHAR,
            max_length=9,
            max_capacity=4,
        ),
    ),
)
BATCH = pa.RecordBatch.from_pylist(
    [
        {"id": 1, "v": [0.5, 1.5], "text": "one", "doc": b'{"a":1}', "tags": ["a", "bc"]},
        {"id": 2, "v": [2.5, 3.5], "text": "", "doc": None, "tags": []},
        {"id": 3, "v": [4.5, 5.5], "text": "thr\u00e9", "doc": b"[]", "tags": ["d"]},
    ],
    schema=arrow_schema(SCHEMA),
)
ROWS = encode_batch(BATCH)
META = CollectionMeta(
    id=CollectionId(7),
    database_id=DatabaseId(1),
    schema=SCHEMA,
    partitions=(PartitionMeta(id=PartitionId(8), name="_default"),),
)
SNAPSHOT = MetadataSnapshot.empty().apply(Changes(0, 1, ((META.key, encode(META)),), ()))  # type: ignore[arg-type]


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Cut, or with bytes changed, put in or left out."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, max(len(data) - 1, 0)))
        way = draw(st.sampled_from(["change", "insert", "remove", "cut"]))
        if way == "change" and data:
            data[place] = draw(st.integers(0, 255))
        elif way == "insert":
            data[place:place] = draw(st.binary(min_size=1, max_size=8))
        elif way == "remove":
            del data[place : place + draw(st.integers(1, 16))]
        elif way == "cut":
            del data[place:]
    return bytes(data)


@settings(max_examples=600)
@given(damaged(ROWS) | st.binary(max_size=100))
def test_rows_that_enter_the_log_can_be_read(rows: bytes) -> None:
    message = Write(
        token=b"t" * 16,
        collection=CollectionId(7),
        partition=PartitionId(8),
        rows=rows,
        row_count=3,
    )
    try:
        check_write(SNAPSHOT, message)
    except MishardsError:
        return
    assert len(decode_batch(rows).to_pylist()) == 3


@settings(max_examples=300)
@given(st.binary(max_size=100) | st.integers(0, len(ROWS)).map(lambda end: ROWS[:end]))
def test_bytes_that_are_no_record_batch(data: bytes) -> None:
    try:
        assert decode_batch(data).num_rows >= 0
    except ProtocolError as error:
        assert "record batch" in error.message


REQUEST = bytes(
    frames.request_frame(
        frames.REQUEST,
        1,
        Query(
            at=ReadPoint(collection=CollectionId(7), version=1, checkpoint=2, read_ts=5),  # type: ignore[arg-type]
            filter="a == {x}",
            templates={"x": [1, "two"]},
        ),
        5.0,
        "00-trace",
    )[13:]
)


@settings(max_examples=500)
@given(damaged(REQUEST) | st.binary(max_size=60))
def test_bodies_of_requests(body: bytes) -> None:
    try:
        remaining_s, _, message = frames.read_request(memoryview(body))
    except ProtocolError:
        return
    assert not math.isnan(remaining_s)
    assert isinstance(message, msgspec.Struct)


@settings(max_examples=300)
@given(st.binary(max_size=60))
def test_bodies_of_answers_and_errors(body: bytes) -> None:
    assert isinstance(frames.read_error(memoryview(body)), MishardsError)
    try:
        frames.read_reply(memoryview(body))
    except ProtocolError:
        return


@settings(max_examples=300)
@given(st.binary(max_size=60))
def test_greetings(body: bytes) -> None:
    try:
        assert isinstance(read_hello(memoryview(body)), Hello)
    except ProtocolError as error:
        assert error.message


def test_a_message_nested_too_deep() -> None:
    prefix = REQUEST[: REQUEST.index(b"\xa1x") + 2]
    with pytest.raises(ProtocolError):
        frames.read_request(memoryview(prefix + b"\x91" * 100_000 + b"\x01"))


class Received(frames.FrameConnection):
    """Keeps what arrives."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop, 1000)
        self.frames: list[tuple[int, int, bytes]] = []
        self.error: MishardsError | None = None

    def frame_received(self, kind: int, call: int, body: memoryview) -> None:
        self.frames.append((kind, call, bytes(body)))

    def ended(self, error: MishardsError) -> None:
        self.error = error

    def feed(self, data: bytes, step: int) -> None:
        for start in range(0, len(data), step):
            if self.error is not None:
                return
            part = data[start : start + step]
            self.get_buffer(-1)[: len(part)] = part
            self.buffer_updated(len(part))


@settings(max_examples=200)
@given(st.lists(st.binary(max_size=300), max_size=5), st.binary(max_size=60), st.integers(1, 97))
def test_streams_of_frames_then_noise(bodies: list[bytes], noise: bytes, step: int) -> None:
    loop = asyncio.new_event_loop()
    try:
        received = Received(loop)
        whole = b"".join(
            frames._HEADER.pack(len(body), frames.ITEM, call) + body
            for call, body in enumerate(bodies)
        )
        received.feed(whole + noise, step)
        expected = [(frames.ITEM, call, body) for call, body in enumerate(bodies)]
        assert received.frames[: len(bodies)] == expected
        assert received.error is None or isinstance(received.error, ProtocolError)
    finally:
        loop.close()


@pytest.fixture(scope="module")
def segment(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, bytes]:
    folder = tmp_path_factory.mktemp("segment")
    meta = write_segment(
        folder,
        SCHEMA,
        BATCH,
        np.array([5, 6, 7]),
        segment_id=SegmentId(9),
        collection_id=CollectionId(7),
        partition_id=PartitionId(8),
    )
    return folder, meta, (folder / MANIFEST).read_bytes()


@settings(max_examples=300)
@given(draw=st.data())
def test_manifests(segment: tuple[Path, Any, bytes], draw: st.DataObject) -> None:
    folder, meta, whole = segment
    (folder / MANIFEST).write_bytes(draw.draw(damaged(whole) | st.binary(max_size=60)))
    try:
        opened = open_segment(folder, meta, SCHEMA)
    except (CorruptObject, SegmentNotFound) as error:
        assert str(folder) in error.message
    else:
        assert opened.rows == 3
        assert opened.column("text").to_pylist() == ["one", "", "thr\u00e9"]


@settings(max_examples=300)
@given(draw=st.data())
def test_delete_files(tmp_path_factory: pytest.TempPathFactory, draw: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "deletes"
    info = write_deletes(path, pa.array([1, 2, 3]), np.array([5, 6, 7]))
    whole = path.read_bytes()
    data = draw.draw(damaged(whole) | st.binary(max_size=60))
    path.write_bytes(data)
    try:
        keys, timestamps = read_deletes(path, info.checksum)
    except CorruptObject as error:
        assert str(path) in error.message
    else:
        assert data == whole
        assert (len(keys), len(timestamps)) == (3, 3)


@settings(max_examples=200)
@given(draw=st.data())
def test_index_files(tmp_path_factory: pytest.TempPathFactory, draw: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "index"
    vectors = np.random.default_rng(1).random((20, 4), np.float32)
    hnsw = family("HNSW")
    if not path.exists():
        hnsw.build(vectors, Metric.L2, hnsw.check_build({"M": "4"}, 4), path, 1)
        path.with_suffix(".whole").write_bytes(path.read_bytes())
    whole = path.with_suffix(".whole").read_bytes()
    info = file_info(path.with_suffix(".whole"))
    path.write_bytes(draw.draw(damaged(whole)))
    if path.read_bytes() == whole:
        verify_file(path, info)
        return
    with pytest.raises(CorruptObject, match=str(path)):
        verify_file(path, info)


@settings(max_examples=300)
@given(damaged(encode(META)) | st.binary(max_size=60))
def test_metadata_records(data: bytes) -> None:
    changes = Changes(0, 1, ((META.key, data),), ())  # type: ignore[arg-type]
    try:
        snapshot = MetadataSnapshot.empty().apply(changes)
    except CorruptObject as error:
        assert META.key in error.message
    else:
        assert len(snapshot.collections) == 1
