"""What every transport must do: subclass `TransportContract`, say how to make one, run pytest.

The suite waits on conditions only; the longest deadline it lets pass is a tenth of a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

from mishards.core.errors import (
    CollectionNotFound,
    ConfigError,
    DeadlineExceeded,
    InternalError,
    NotLeader,
    Unavailable,
)
from mishards.core.ids import CollectionId, EntrySeq, LogId, MetadataVersion, Timestamp
from mishards.core.runtime import Runtime, SystemRuntime
from mishards.rpc.messages import (
    AllocateTimestamp,
    Follow,
    LogPush,
    Message,
    NewestTimestamp,
    Reply,
    TimestampReply,
    Write,
    Written,
)
from mishards.rpc.protocol import CallContext, Channel, Listener, Transport
from mishards.testing.expect import raises

PATIENCE_S = 10.0
SIZES = (0, 1, 1000, 65_000, *range(65_480, 65_540), 20_000_000)
_FOLLOW = Follow(log=LogId(0), seq=EntrySeq(1), version=MetadataVersion(0))


class ScriptedHandler:
    """A role whose answers a test decides.

    Attributes:
        seen: all messages and their contexts.
        cancelled: set when a waiting call or an unfinished stream was ended from outside.
        release: lets waiting calls answer.
    """

    def __init__(self) -> None:
        self.seen: list[tuple[Message, CallContext]] = []
        self.entered = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.release = asyncio.Event()
        self.streamed = 0
        self.items: int | None = 3
        self.item_bytes = 10

    async def handle(self, message: Message, context: CallContext) -> Reply:
        self.seen.append((message, context))
        self.entered.set()
        match message:
            case AllocateTimestamp(count=count):
                return TimestampReply(timestamp=Timestamp(count))
            case Write():
                written = len(message.rows)
                return Written(timestamp=Timestamp(written), seq=EntrySeq(1))
            case NewestTimestamp(log=0):
                try:
                    await self.release.wait()
                except asyncio.CancelledError:
                    self.cancelled.set()
                    raise
                return TimestampReply(timestamp=Timestamp(7))
            case NewestTimestamp(log=1):
                raise CollectionNotFound("collection 'a' does not exist")
            case _:
                raise KeyError("a defect")

    def handle_now(self, message: Message, traceparent: str = "") -> Reply | None:
        if isinstance(message, AllocateTimestamp):
            return TimestampReply(timestamp=Timestamp(-message.count))
        return None

    async def stream(self, message: Message, context: CallContext) -> AsyncIterator[Reply]:
        self.entered.set()
        try:
            while self.items is None or self.streamed < self.items:
                self.streamed += 1
                seq = EntrySeq(self.streamed)
                yield LogPush(seq=seq, timestamp=Timestamp(1), entry=b"e" * self.item_bytes)
            if self.items == 0:
                raise NotLeader("not the leader of log 0")
            await self.release.wait()
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled.set()
            raise


class TransportContract:
    """Subclasses give `transport` and `address`, and may replace `run`."""

    def transport(self, runtime: Runtime) -> Transport:
        raise NotImplementedError

    def address(self, folder: Path) -> str:
        """Where to listen; `folder` is empty and the test's own."""
        raise NotImplementedError

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run(work)

    def play(
        self,
        folder: Path,
        scene: Callable[[Channel, ScriptedHandler, Listener, Transport], Awaitable[None]],
    ) -> None:
        """Run `scene` with a listener and a channel to it; afterwards nothing may be left."""

        async def work() -> None:
            runtime = SystemRuntime(seed=1, threads=1)
            transport = self.transport(runtime)
            handler = ScriptedHandler()
            listener = await transport.listen(self.address(folder), handler)
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await scene(transport.channel(listener.address), handler, listener, transport)
            finally:
                await transport.close()
                await listener.close()
                await runtime.close()
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, left

        self.run(work())

    def test_a_call_is_answered(self, tmp_path: Path) -> None:
        async def scene(channel: Channel, handler: ScriptedHandler, *_: Any) -> None:
            reply = await channel.call(
                AllocateTimestamp(count=5), timeout_s=PATIENCE_S, traceparent="00-ab-cd-01"
            )
            assert reply == TimestampReply(timestamp=Timestamp(5))
            message, context = handler.seen[0]
            assert message == AllocateTimestamp(count=5)
            assert context.traceparent == "00-ab-cd-01"

        self.play(tmp_path, scene)

    def test_bytes_of_any_size_arrive_unchanged(self, tmp_path: Path) -> None:
        async def scene(channel: Channel, handler: ScriptedHandler, *_: Any) -> None:
            for size in SIZES:
                handler.seen.clear()
                rows = (bytes(range(256)) * (size // 256 + 1))[:size]
                calls = [_call(channel, _write(rows)) for _ in range(3)]
                for reply in await asyncio.gather(*calls):
                    assert reply == Written(timestamp=Timestamp(size), seq=EntrySeq(1))
                for message, _context in handler.seen:
                    assert isinstance(message, Write)
                    assert bytes(message.rows) == rows

        self.play(tmp_path, scene)

    def test_many_calls_are_in_flight_and_find_their_answers(self, tmp_path: Path) -> None:
        async def scene(channel: Channel, handler: ScriptedHandler, *_: Any) -> None:
            waiting = asyncio.create_task(_call(channel, NewestTimestamp()))
            await handler.entered.wait()
            replies = await asyncio.gather(
                *(_call(channel, AllocateTimestamp(count=n)) for n in range(200))
            )
            assert [cast("TimestampReply", reply).timestamp for reply in replies] == [*range(200)]
            assert not waiting.done()
            handler.release.set()
            assert await waiting == TimestampReply(timestamp=Timestamp(7))

        self.play(tmp_path, scene)

    def test_an_error_crosses_as_its_class(self, tmp_path: Path) -> None:
        async def scene(channel: Channel, *_: Any) -> None:
            error = await raises(CollectionNotFound, _call(channel, NewestTimestamp(log=LogId(1))))
            assert error.message == "collection 'a' does not exist"

        self.play(tmp_path, scene)

    def test_a_defect_of_the_handler_is_an_internal_error(self, tmp_path: Path) -> None:
        async def scene(channel: Channel, *_: Any) -> None:
            error = await raises(InternalError, _call(channel, NewestTimestamp(log=LogId(2))))
            assert "KeyError" in error.message
            assert await _call(channel, AllocateTimestamp()) == TimestampReply(
                timestamp=Timestamp(1)
            )

        self.play(tmp_path, scene)

    def test_a_late_call_ends_at_its_deadline_and_stops_at_the_peer(self, tmp_path: Path) -> None:
        async def scene(channel: Channel, handler: ScriptedHandler, *_: Any) -> None:
            error = await raises(DeadlineExceeded, channel.call(NewestTimestamp(), timeout_s=0.1))
            # Of the 0.1 s connecting may have taken some.
            assert re.search(r"within 0\.(1|0)\d* s", error.message), error.message
            await handler.cancelled.wait()

        self.play(tmp_path, scene)

    def test_cancelling_the_caller_cancels_the_call(self, tmp_path: Path) -> None:
        async def scene(channel: Channel, handler: ScriptedHandler, *_: Any) -> None:
            caller = asyncio.create_task(_call(channel, NewestTimestamp()))
            await handler.entered.wait()
            caller.cancel()
            await asyncio.wait([caller])
            assert caller.cancelled()
            await handler.cancelled.wait()

        self.play(tmp_path, scene)

    def test_calls_end_at_once_when_the_listener_closes(self, tmp_path: Path) -> None:
        async def scene(
            channel: Channel, handler: ScriptedHandler, listener: Listener, _: Any
        ) -> None:
            caller = asyncio.create_task(_call(channel, NewestTimestamp()))
            await handler.entered.wait()
            await listener.close()
            assert handler.cancelled.is_set()
            await raises(Unavailable, caller)
            await raises(Unavailable, _call(channel, AllocateTimestamp()))

        self.play(tmp_path, scene)

    def test_a_channel_comes_back_when_the_peer_does(self, tmp_path: Path) -> None:
        async def scene(
            channel: Channel, handler: ScriptedHandler, listener: Listener, transport: Transport
        ) -> None:
            await _call(channel, AllocateTimestamp())
            await listener.close()
            await raises(Unavailable, _call(channel, AllocateTimestamp()))
            again = await transport.listen(listener.address, handler)
            try:
                assert again.address == listener.address
                assert await _call(channel, AllocateTimestamp(count=2)) == TimestampReply(
                    timestamp=Timestamp(2)
                )
            finally:
                await transport.close()
                await again.close()

        self.play(tmp_path, scene)

    def test_closing_a_channel_ends_its_calls(self, tmp_path: Path) -> None:
        async def scene(channel: Channel, handler: ScriptedHandler, *_: Any) -> None:
            caller = asyncio.create_task(_call(channel, NewestTimestamp()))
            await handler.entered.wait()
            await channel.close()
            await raises(Unavailable, caller)
            await handler.cancelled.wait()

        self.play(tmp_path, scene)

    def test_one_address_is_served_once(self, tmp_path: Path) -> None:
        async def scene(
            _: Channel, handler: ScriptedHandler, listener: Listener, transport: Transport
        ) -> None:
            error = await raises(ConfigError, transport.listen(listener.address, handler))
            assert listener.address in error.message

        self.play(tmp_path, scene)

    def test_an_address_of_another_kind_is_refused(self, tmp_path: Path) -> None:
        async def scene(*given: Any) -> None:
            async def channel() -> None:
                given[3].channel("smoke://signal")

            for work in (given[3].listen("smoke://signal", given[1]), channel()):
                error = await raises(ConfigError, work)
                assert "'smoke://signal'" in error.message

        self.play(tmp_path, scene)

    def test_channels_are_shared(self, tmp_path: Path) -> None:
        async def scene(
            channel: Channel, _: ScriptedHandler, listener: Listener, transport: Transport
        ) -> None:
            assert transport.channel(listener.address) is channel

        self.play(tmp_path, scene)

    def test_a_stream_gives_all_items_in_order(self, tmp_path: Path) -> None:
        async def scene(channel: Channel, handler: ScriptedHandler, *_: Any) -> None:
            handler.items = 500
            handler.release.set()
            items = [cast("LogPush", item) async for item in channel.stream(_FOLLOW)]
            assert [item.seq for item in items] == [*range(1, 501)]
            assert all(bytes(item.entry) == b"e" * 10 for item in items)

        self.play(tmp_path, scene)

    def test_a_stream_ends_with_the_error_of_the_peer(self, tmp_path: Path) -> None:
        async def scene(channel: Channel, handler: ScriptedHandler, *_: Any) -> None:
            handler.items = 0
            error = await raises(NotLeader, _next(channel.stream(_FOLLOW)))
            assert error.message == "not the leader of log 0"

        self.play(tmp_path, scene)

    def test_closing_a_stream_closes_it_at_the_peer(self, tmp_path: Path) -> None:
        async def scene(channel: Channel, handler: ScriptedHandler, *_: Any) -> None:
            async with aclosing(cast("Any", channel.stream(_FOLLOW))) as stream:
                await anext(stream)
            await handler.cancelled.wait()

        self.play(tmp_path, scene)

    def test_a_stream_breaks_with_the_listener(self, tmp_path: Path) -> None:
        async def scene(
            channel: Channel, handler: ScriptedHandler, listener: Listener, _: Any
        ) -> None:
            async with aclosing(cast("Any", channel.stream(_FOLLOW))) as stream:
                for _number in range(3):
                    await anext(stream)
                waiting = asyncio.create_task(_next(stream))
                await listener.close()
                await raises(Unavailable, waiting)

        self.play(tmp_path, scene)

    def test_a_slow_consumer_slows_the_producer_and_no_call(self, tmp_path: Path) -> None:
        async def scene(channel: Channel, handler: ScriptedHandler, *_: Any) -> None:
            handler.items, handler.item_bytes = None, 1_000_000
            async with aclosing(cast("Any", channel.stream(_FOLLOW))) as stream:
                await anext(stream)
                await _settled(channel, lambda: handler.streamed)
                assert handler.streamed < 200
                taken = handler.streamed
                for _number in range(taken):
                    await anext(stream)
                assert handler.streamed > taken - 1

        self.play(tmp_path, scene)


async def _settled(channel: Channel, value: Callable[[], int]) -> None:
    """Until `value` is the same over a hundred round trips."""
    before = -1
    while before != value():
        before = value()
        for _number in range(100):
            await _call(channel, AllocateTimestamp())


async def _call(channel: Channel, message: Message) -> Reply:
    return await channel.call(message, timeout_s=PATIENCE_S)


async def _next(stream: AsyncIterator[Reply]) -> Reply | None:
    with contextlib.suppress(StopAsyncIteration):
        return await anext(stream)
    return None


def _write(rows: bytes) -> Write:
    return Write(token=b"t" * 16, collection=CollectionId(1), rows=rows, row_count=1)
