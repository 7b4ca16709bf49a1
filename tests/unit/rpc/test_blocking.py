"""Calls that block their thread: whole answers or none, and no connection left behind."""

import asyncio
import socket
import threading

import pytest

from mishards.core.errors import NotReady
from mishards.core.runtime import SystemRuntime
from mishards.rpc.blocking import BlockingCalls
from mishards.rpc.handshake import Credentials
from mishards.rpc.messages import NewestTimestamp, TimestampReply
from mishards.rpc.tcp import FramedTransport

QUESTION = NewestTimestamp()


class Answering:
    """Answers with a number, after an event where one is given."""

    def __init__(self, number, *, after=None, error=None):
        self.number, self.after, self.error = number, after, error
        self.cancelled = asyncio.Event()

    async def handle(self, message, context):
        try:
            if self.after is not None:
                await self.after.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        if self.error is not None:
            raise self.error
        return TimestampReply(timestamp=self.number)

    def handle_now(self, message, traceparent=""):
        return None

    def stream(self, message, context):
        raise NotImplementedError


def run(body, *, secret="s", client_secret="s"):
    async def main():
        runtime = SystemRuntime(threads=2)
        server = FramedTransport(runtime, secret=secret)
        client = FramedTransport(runtime, secret=client_secret)
        try:
            await body(runtime, server, client)
        finally:
            await client.close()
            await server.close()
            await runtime.close()

    asyncio.run(main())


@pytest.fixture(params=["tcp", "unix"])
def address(request, tmp_path):
    def make(name):
        return "tcp://127.0.0.1:0" if request.param == "tcp" else f"unix://{tmp_path / name}"

    return make


def test_answers_come_in_the_order_of_the_requests(address):
    async def body(runtime, server, client):
        one = await server.listen(address("a"), Answering(1))
        two = await server.listen(address("b"), Answering(2))
        requests = [(one.address, QUESTION), (two.address, QUESTION)]
        for _ in range(3):
            replies = await runtime.blocking(client.ask_now, requests, 5.0)
            assert [reply.timestamp for reply in replies] == [1, 2]
        await one.close()
        await two.close()

    run(body)


def test_a_connection_that_was_idle_for_long_is_made_anew():
    async def body(runtime, server, _):
        listener = await server.listen("tcp://127.0.0.1:0", Answering(1))
        for idle_s, connections in ((60.0, 1), (0.0, 3)):
            calls = BlockingCalls(Credentials(b"s"), runtime.monotonic_s, idle_s)
            used = set()

            def ask(calls=calls, used=used):
                for _ in range(3):
                    assert calls.ask([(listener.address, QUESTION)], 5.0)[0].timestamp == 1
                    used.update(calls._all)

            await runtime.blocking(ask)
            assert len(used) == connections
            calls.close()
        await listener.close()

    run(body)


def test_an_error_or_a_late_answer_gives_none_and_rests_the_peer(address):
    async def body(runtime, server, client):
        never = asyncio.Event()
        slow = Answering(1, after=never)
        failing = await server.listen(address("a"), Answering(1, error=NotReady("no")))
        late = await server.listen(address("b"), slow)
        good = await server.listen(address("c"), Answering(3))
        for peer in (failing, late):
            requests = [(good.address, QUESTION), (peer.address, QUESTION)]
            assert await runtime.blocking(client.ask_now, requests, 0.2) is None
        await slow.cancelled.wait()
        started = runtime.monotonic_s()
        assert await runtime.blocking(client.ask_now, [(late.address, QUESTION)], 60.0) is None
        assert runtime.monotonic_s() - started < 30
        replies = await runtime.blocking(client.ask_now, [(good.address, QUESTION)], 5.0)
        assert replies[0].timestamp == 3
        for listener in (failing, late, good):
            await listener.close()

    run(body)


def test_a_wrong_secret_and_a_dead_address_give_none():
    async def body(runtime, server, client):
        listener = await server.listen("tcp://127.0.0.1:0", Answering(1))
        assert await runtime.blocking(client.ask_now, [(listener.address, QUESTION)], 5.0) is None
        await listener.close()

    run(body, client_secret="other")

    async def nobody(runtime, server, client):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
            assert await runtime.blocking(client.ask_now, [(address, QUESTION)], 5.0) is None

    run(nobody)


def test_threads_have_connections_of_their_own(address):
    async def body(runtime, server, client):
        listener = await server.listen(address("a"), Answering(7))
        together = threading.Barrier(2)

        def ask():
            together.wait(10)
            return client.ask_now([(listener.address, QUESTION)], 5.0)

        answers = await asyncio.gather(runtime.blocking(ask), runtime.blocking(ask))
        assert [replies[0].timestamp for replies in answers] == [7, 7]
        await listener.close()

    run(body)
