import asyncio
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mishards.core.errors import ConfigError, InternalError, Unavailable
from mishards.core.runtime import SystemRuntime
from mishards.rpc import channel as channel_module
from mishards.rpc import serving
from mishards.rpc.messages import AllocateTimestamp, Message, Reply, TimestampReply
from mishards.rpc.protocol import CallContext
from mishards.rpc.tcp import FramedTransport
from mishards.testing.expect import raises
from mishards.testing.waiting import until

ANY = "tcp://127.0.0.1:0"
ASK = AllocateTimestamp(count=4)
Play = Callable[[Any], None]


async def _raw(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection without the protocol, with the listener's greeting taken from it."""
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    await _frame(reader)
    return reader, writer


async def _frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    length, kind, _call = struct.unpack("<IBQ", await reader.readexactly(13))
    return kind, await reader.readexactly(length)


@pytest.mark.parametrize(
    ("ours", "theirs"), [("", "a"), ("a", ""), ("a", "b"), ("of the cluster", "of the clustes")]
)
def test_another_secret_is_refused_and_says_so(
    play: Play, echo: Any, ours: str, theirs: str
) -> None:
    async def scene(_: FramedTransport, runtime: SystemRuntime) -> None:
        server, client = (
            FramedTransport(runtime, secret=ours),
            FramedTransport(runtime, secret=theirs),
        )
        listener = await server.listen(ANY, echo())
        error = await raises(Unavailable, client.channel(listener.address).call(ASK, timeout_s=10))
        assert "wrong shared secret" in error.message
        assert listener.address in error.message
        await client.close()
        await listener.close()

    play(scene)


def test_a_call_before_the_greeting_is_refused(play: Play, echo: Any) -> None:
    async def scene(transport: FramedTransport, _: SystemRuntime) -> None:
        handler = echo()
        listener = await transport.listen(ANY, handler)
        reader, writer = await _raw(listener.address)
        writer.write(struct.pack("<IBQ", 0, 1, 1))
        kind, body = await _frame(reader)
        assert kind == 3
        assert b"ProtocolError" in body
        assert await reader.read() == b""
        assert handler.tasks == 0
        writer.close()
        await listener.close()

    play(scene)


def test_a_frame_over_the_limit_closes_the_connection_naming_sizes(play: Play, echo: Any) -> None:
    async def scene(transport: FramedTransport, _: SystemRuntime) -> None:
        listener = await transport.listen(ANY, echo())
        reader, writer = await _raw(listener.address)
        writer.write(struct.pack("<IBQ", 1025, 8, 0))
        _, body = await _frame(reader)
        assert b"1025 bytes is over the limit of 1024" in body
        assert await reader.read() == b""
        writer.close()
        await listener.close()

    play(scene)


def test_who_does_not_greet_is_hung_up_on(
    play: Play, echo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "HANDSHAKE_TIMEOUT_S", 0.01)

    async def scene(transport: FramedTransport, _: SystemRuntime) -> None:
        listener = await transport.listen(ANY, echo())
        reader, writer = await _raw(listener.address)
        assert await reader.read() == b""
        writer.close()
        await listener.close()

    play(scene)


def test_a_listener_of_another_kind_is_unavailable(play: Play) -> None:
    async def scene(transport: FramedTransport, _: SystemRuntime) -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        await raises(
            Unavailable, transport.channel(f"tcp://127.0.0.1:{port}").call(ASK, timeout_s=10)
        )
        server.close()
        await server.wait_closed()

    play(scene)


def test_a_peer_that_never_greets_is_unavailable_after_the_connect_timeout(play: Play) -> None:
    async def scene(_: FramedTransport, runtime: SystemRuntime) -> None:
        transport = FramedTransport(runtime, connect_timeout_s=0.05)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
            error = await raises(Unavailable, transport.channel(address).call(ASK, timeout_s=10))
            # A machine that is busy for so long may not even see that it is connected.
            assert error.message in {
                f"{address}: no connection within 0.05 s",
                f"{address}: no greeting, maybe for it speaks TLS, within 0.05 s",
            }
        await transport.close()

    play(scene)


def test_concurrent_callers_share_one_connection(play: Play, echo: Any) -> None:
    async def scene(transport: FramedTransport, _: SystemRuntime) -> None:
        listener = await transport.listen(ANY, echo())
        channel = transport.channel(listener.address)
        await asyncio.gather(*(channel.call(ASK, timeout_s=10) for _number in range(50)))
        connections = listener._accepted.connections  # type: ignore[attr-defined]
        assert len(connections) == 1
        await transport.close()
        await until(lambda: not connections)
        await listener.close()

    play(scene)


def test_a_connection_that_was_idle_for_long_is_made_anew(play: Play, echo: Any) -> None:
    async def scene(_: FramedTransport, runtime: SystemRuntime) -> None:
        # Nothing is used after no time at all, and what is in flight is not idle.
        transport = FramedTransport(runtime, idle_s=0.0)
        listener = await transport.listen(ANY, echo())
        channel = transport.channel(listener.address)
        accepted = listener._accepted.connections  # type: ignore[attr-defined]
        seen = set()
        for _number in range(3):
            await asyncio.gather(*(channel.call(ASK, timeout_s=10) for _call in range(5)))
            seen.update(accepted)
        assert len(seen) == 3
        await until(lambda: len(accepted) == 1)
        await transport.close()
        await listener.close()

    play(scene)


def test_a_connection_that_says_nothing_gets_no_further_calls(
    play: Play, echo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_module, "_SILENT_S", 0.05)

    class Slow(echo):  # type: ignore[misc]
        """Answers the first call when it is told to."""

        def __init__(self) -> None:
            super().__init__()
            self.told = asyncio.Event()

        async def handle(self, message: Message, context: CallContext) -> Reply:
            if message == AllocateTimestamp(count=1):
                await self.told.wait()
            reply: Reply = await super().handle(message, context)
            return reply

    async def scene(transport: FramedTransport, _: SystemRuntime) -> None:
        handler = Slow()
        listener = await transport.listen(ANY, handler)
        channel = transport.channel(listener.address)
        accepted = listener._accepted.connections  # type: ignore[attr-defined]
        first = asyncio.ensure_future(channel.call(AllocateTimestamp(count=1), timeout_s=10))

        def silent() -> bool:
            connection = channel._connection  # type: ignore[attr-defined]
            return connection is not None and connection.is_silent(0.05)

        await until(silent)
        await channel.call(AllocateTimestamp(count=3), timeout_s=10)
        await channel.call(AllocateTimestamp(count=5), timeout_s=10)
        assert len(accepted) == 2
        # What was in flight is answered where it was asked; then the old connection goes.
        handler.told.set()
        assert await first == TimestampReply(timestamp=1)  # type: ignore[arg-type]
        await until(lambda: len(accepted) == 1)
        await listener.close()

    play(scene)


def test_a_handler_that_says_so_is_asked_inline_first(play: Play, echo: Any) -> None:
    async def scene(transport: FramedTransport, _: SystemRuntime) -> None:
        for inline, tasks in ((True, 1), (False, 2)):
            handler = echo(inline=inline)
            listener = await transport.listen(ANY, handler)
            channel = transport.channel(listener.address)
            for count in (3, 4):
                reply = await channel.call(AllocateTimestamp(count=count), timeout_s=10)
                assert reply.timestamp == count  # type: ignore[union-attr]
            assert handler.tasks == tasks
            await channel.close()
            await listener.close()

    play(scene)


def test_a_defect_in_opening_a_stream_is_an_internal_error(play: Play, echo: Any) -> None:
    async def scene(transport: FramedTransport, _: SystemRuntime) -> None:
        listener = await transport.listen(ANY, echo())
        stream = transport.channel(listener.address).stream(ASK)
        error = await raises(InternalError, anext(aiter(stream)))
        assert "KeyError" in error.message
        await listener.close()

    play(scene)


def test_the_socket_file_of_a_dead_process_is_replaced(
    play: Play, echo: Any, tmp_path: Path
) -> None:
    file = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(file))

    async def scene(transport: FramedTransport, _: SystemRuntime) -> None:
        assert file.exists()
        listener = await transport.listen(f"unix://{file}", echo())
        await transport.channel(listener.address).call(ASK, timeout_s=10)
        await transport.close()
        await listener.close()

    play(scene)


def test_a_file_that_is_no_socket_is_left_alone(play: Play, echo: Any, tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_text("precious")

    async def scene(transport: FramedTransport, _: SystemRuntime) -> None:
        error = await raises(ConfigError, transport.listen(f"unix://{file}", echo()))
        assert str(file) in error.message

    play(scene)
    assert file.read_text() == "precious"


@pytest.mark.parametrize(
    "address",
    ["", "tcp://", "tcp://host", "tcp://host:x", "tcp://host:99999", "unix://s", "127.0.0.1:1"],
)
def test_an_address_that_cannot_be_is_refused(play: Play, address: str) -> None:
    async def scene(transport: FramedTransport, _: SystemRuntime) -> None:
        with pytest.raises(ConfigError) as caught:
            transport.channel(address)
        assert repr(address) in caught.value.message

    play(scene)
