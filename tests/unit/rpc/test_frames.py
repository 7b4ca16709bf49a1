import asyncio
import random
from typing import Any, cast

import pytest

from mishards.core.errors import (
    CollectionNotFound,
    InternalError,
    MishardsError,
    ProtocolError,
    Unavailable,
)
from mishards.core.ids import CollectionId
from mishards.rpc import frames
from mishards.rpc.frames import FrameConnection
from mishards.rpc.messages import AllocateTimestamp, Write

WRITE = Write(token=b"t" * 16, collection=CollectionId(1), rows=b"rows" * 100, row_count=1)


class Wire:
    """A transport that keeps what was written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closing = False

    def set_write_buffer_limits(self, high: int) -> None:
        assert high > 0

    def write(self, data: bytes) -> None:
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True


class Collector(FrameConnection):
    def __init__(self, loop: asyncio.AbstractEventLoop, limit_bytes: int = 1 << 20) -> None:
        super().__init__(loop, limit_bytes)
        self.frames: list[tuple[int, int, memoryview]] = []
        self.errors: list[MishardsError] = []
        self.wire = Wire()
        self.connection_made(cast("Any", self.wire))

    def frame_received(self, kind: int, call: int, body: memoryview) -> None:
        self.frames.append((kind, call, body))

    def ended(self, error: MishardsError) -> None:
        self.errors.append(error)

    def feed(self, data: bytes, sizes: random.Random) -> None:
        """As a socket would: pieces of any size."""
        at = 0
        while at < len(data) and not self.errors:
            buffer = self.get_buffer(-1)
            assert len(buffer) > 0
            count = min(len(buffer), len(data) - at, sizes.choice((1, 7, 13, 1000, 65_536)))
            buffer[:count] = data[at : at + count]
            self.buffer_updated(count)
            at += count


@pytest.fixture
def loop() -> Any:
    made = asyncio.new_event_loop()
    yield made
    made.close()


@pytest.mark.parametrize("seed", range(10))
def test_frames_come_out_whole_however_the_bytes_come_in(
    loop: asyncio.AbstractEventLoop, seed: int
) -> None:
    chance = random.Random(seed)
    sent = [
        (chance.randrange(1, 9), chance.randrange(1 << 64), chance.randbytes(size))
        for size in (0, 1, 500, 65_522, 65_523, 65_524, 0, 300_000, 12, 70_000)
    ]
    data = b"".join(
        len(body).to_bytes(4, "little") + bytes([kind]) + call.to_bytes(8, "little") + body
        for kind, call, body in sent
    )
    collector = Collector(loop)
    collector.feed(data, chance)
    assert [(kind, call, bytes(body)) for kind, call, body in collector.frames] == sent
    assert all(body.readonly for _, _, body in collector.frames)


def test_a_message_is_a_view_of_its_frame_that_outlives_the_buffer(
    loop: asyncio.AbstractEventLoop,
) -> None:
    collector = Collector(loop)
    data = frames.request_frame(frames.REQUEST, 7, WRITE, 1.5, "00-trace")
    collector.feed(bytes(data), random.Random(0))
    collector.feed(bytes(len(data)), random.Random(0))
    kind, call, body = collector.frames[0]
    remaining_s, trace, message = frames.read_request(body)
    assert (kind, call, remaining_s, trace) == (frames.REQUEST, 7, 1.5, "00-trace")
    assert isinstance(message, Write)
    assert isinstance(message.rows, memoryview)
    assert message.rows.obj is body.obj
    assert bytes(message.rows) == b"rows" * 100


def test_a_frame_over_the_limit_ends_the_connection_without_being_read(
    loop: asyncio.AbstractEventLoop,
) -> None:
    collector = Collector(loop, limit_bytes=1000)
    collector.feed((1001).to_bytes(4, "little") + bytes(9), random.Random(0))
    assert isinstance(collector.errors[0], ProtocolError)
    assert "1001" in collector.errors[0].message
    assert "1000" in collector.errors[0].message
    assert collector.wire.closing
    assert collector.frames == []


def test_a_message_over_the_limit_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MAX_FRAME_BYTES", 100)
    with pytest.raises(ProtocolError, match=r"bytes is over the limit of 100 bytes"):
        frames.request_frame(frames.REQUEST, 1, WRITE, 1.0, "")
    assert frames.request_frame(frames.REQUEST, 1, AllocateTimestamp(), 1.0, "")


def test_the_end_is_told_once_and_nothing_is_written_after_it(
    loop: asyncio.AbstractEventLoop,
) -> None:
    collector = Collector(loop)
    assert collector.write(b"x")
    collector.shut(Unavailable("enough"))
    collector.connection_lost(None)
    assert [error.message for error in collector.errors] == ["enough"]
    assert not collector.write(b"y")
    assert collector.wire.written == [b"x"]


def test_errors_cross_as_their_class_and_unknown_ones_as_internal() -> None:
    def crossed(name: str) -> MishardsError:
        body = memoryview(frames.frame_of(frames.ERROR, 1, (name, "text")))[13:]
        return frames.read_error(body)

    assert type(crossed("CollectionNotFound")) is CollectionNotFound
    assert type(crossed("ErrorOfANewerRelease")) is InternalError
    assert crossed("ErrorOfANewerRelease").message == "text"
    assert isinstance(frames.read_error(memoryview(b"\xff")), ProtocolError)


@pytest.mark.parametrize(
    "body", [b"", b"x" * 9, bytes(10), b"\0" * 8 + b"\xff\xff", b"\0" * 10 + b"\x93\x01\x02"]
)
def test_what_is_no_request_is_a_protocol_error(body: bytes) -> None:
    with pytest.raises(ProtocolError, match="not a request"):
        frames.read_request(memoryview(body))
    with pytest.raises(ProtocolError, match="not a reply"):
        frames.read_reply(memoryview(body))
