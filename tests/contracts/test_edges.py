"""What every gRPC edge must do, on each of them, through grpcio's client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

from mishards.api.milvus.edge.protocol import NOT_FOUND, Edge, EdgeCall, EdgeSettings, GrpcFailure
from mishards.api.milvus.edge.registry import make_edge
from mishards.core.errors import ConfigError
from mishards.observability.tracing import TraceStart

ECHO, WAIT, FAIL, CRASH = "/t.T/Echo", "/t.T/Wait", "/t.T/Fail", "/t.T/Crash"
COUNT, COUNT_FAIL, COUNT_CRASH = "/t.T/Count", "/t.T/CountFail", "/t.T/CountCrash"
NOW, NOW_FAIL, NOW_CRASH = "/t.T/Now", "/t.T/NowFail", "/t.T/NowCrash"
LIMIT = 1 << 20


class Table:
    """Echoes; `Wait` holds its calls until released; the `Now` methods may answer at once; the
    `Count` methods answer with `n` messages, from 0 on, and then wait."""

    methods = (ECHO, WAIT, FAIL, CRASH, NOW, NOW_FAIL, NOW_CRASH)
    streams = (COUNT, COUNT_FAIL, COUNT_CRASH)
    inline = (NOW, NOW_FAIL, NOW_CRASH)

    def __init__(self) -> None:
        self.starts: list[object] = []
        """What each call said of its caller's trace, at once and on the loop."""
        self.release = asyncio.Event()
        self.waiting = asyncio.Event()
        self.cancelled = asyncio.Event()

    def calls_now(self, method: str, calls: Sequence[EdgeCall]) -> list[bytes | None]:
        self.starts += [call.start for call in calls]
        if method == NOW_FAIL:
            return [None] * len(calls)
        if method == NOW_CRASH:
            raise ValueError("a defect at once")
        return [None if payload == b"later" else b"now " + payload for payload, *_ in calls]

    async def call(self, method: str, payload: bytes, database: str, begun: object = None) -> bytes:
        self.starts.append(begun)
        if method == FAIL:
            raise GrpcFailure(NOT_FOUND, "nothing here")
        if method in (CRASH, NOW_CRASH):
            raise ValueError("a defect")
        if method == NOW_FAIL:
            raise GrpcFailure(NOT_FOUND, "nothing here now")
        if method == WAIT:
            self.waiting.set()
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        return f"{method} {database} ".encode() + payload

    async def stream(self, method: str, payload: bytes) -> AsyncGenerator[bytes]:
        for number in range(int(payload)):
            yield str(number).encode()
        if method == COUNT_FAIL:
            raise GrpcFailure(NOT_FOUND, "no more")
        if method == COUNT_CRASH:
            raise ValueError("a defect in a stream")
        self.waiting.set()
        try:
            await self.release.wait()
        finally:
            self.cancelled.set()


class Setup:
    """A started edge, its table, and a client."""

    def __init__(self, table: Table, edge: Edge, channel: Any) -> None:
        self.table = table
        self.edge = edge
        self._channel = channel

    def call(
        self, method: str, payload: bytes = b"", database: str | None = None, **headers: str
    ) -> Any:
        metadata = [] if database is None else [("dbname", database)]
        metadata += [(name.replace("_", "-"), value) for name, value in headers.items()]
        return self._channel.unary_unary(method)(payload, metadata=metadata, timeout=20)

    def stream(self, method: str, payload: bytes) -> Any:
        return self._channel.unary_stream(method)(payload, timeout=20)

    async def error(self, method: str, payload: bytes = b"") -> tuple[Any, str]:
        with pytest.raises(grpc.RpcError) as caught:
            await self.call(method, payload)
        return caught.value.code(), caught.value.details()


@asynccontextmanager
async def running(name: str, **settings: Any) -> AsyncIterator[Setup]:
    table = Table()
    edge = make_edge(name, table, EdgeSettings(max_message_bytes=LIMIT, grace_s=5.0, **settings))
    await edge.start()
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    try:
        async with grpc.aio.insecure_channel(edge.address, options=options) as channel:
            yield Setup(table, edge, channel)
    finally:
        await edge.close()


Scenario = Callable[[Setup], Coroutine[Any, Any, None]]


@pytest.fixture(params=["native", "grpcio"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def run(name: str, scenario: Scenario, **settings: Any) -> None:
    async def main() -> None:
        async with running(name, **settings) as setup:
            await scenario(setup)

    asyncio.run(main())


def test_a_call_gets_its_bytes_and_its_database(name: str) -> None:
    async def scenario(setup: Setup) -> None:
        assert await setup.call(ECHO, b"x") == b"/t.T/Echo  x"
        assert await setup.call(ECHO, b"x", "") == b"/t.T/Echo  x"
        assert await setup.call(ECHO, b"", "books") == b"/t.T/Echo books "

    run(name, scenario)


TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def test_headers_tell_of_the_callers_trace(name: str) -> None:
    async def scenario(setup: Setup) -> None:
        parent = int(SPAN_ID, 16)
        await setup.call(
            ECHO, traceparent=f"00-{TRACE_ID}-{SPAN_ID}-01", tracestate="a=1", client_request_id="r"
        )
        await setup.call(ECHO, b3=f"{TRACE_ID}-{SPAN_ID}-0")
        await setup.call(
            ECHO, b"", "books", x_b3_traceid=TRACE_ID, x_b3_spanid=SPAN_ID, x_b3_sampled="1"
        )
        await setup.call(ECHO, b"", "books")
        assert setup.table.starts == [
            TraceStart(TRACE_ID, parent, True, {"client.request_id": "r", "tracestate": "a=1"}),
            TraceStart(TRACE_ID, parent, False, {}),
            TraceStart(TRACE_ID, parent, True, {}),
            None,
        ]
        setup.table.starts.clear()
        headers = {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-00"}
        assert await setup.call(NOW, b"later", "books", **headers) == b"/t.T/Now books later"
        # Where calls are answered at once, the method table hears of the trace there already.
        assert setup.table.starts
        for start in setup.table.starts:
            assert start == TraceStart(TRACE_ID, parent, False, {})

    run(name, scenario, trace_context=True)


def test_headers_are_not_read_where_nothing_is_traced(name: str) -> None:
    async def scenario(setup: Setup) -> None:
        await setup.call(ECHO, traceparent=f"00-{TRACE_ID}-{SPAN_ID}-01")
        await setup.call(NOW, b"later", traceparent=f"00-{TRACE_ID}-{SPAN_ID}-01")
        assert set(setup.table.starts) == {None}

    run(name, scenario)


def test_many_calls_at_once_each_get_their_own_answer(name: str) -> None:
    async def scenario(setup: Setup) -> None:
        payloads = [str(number).encode() * 50 for number in range(300)]
        answers = await asyncio.gather(*(setup.call(ECHO, payload) for payload in payloads))
        assert answers == [b"/t.T/Echo  " + payload for payload in payloads]

    run(name, scenario)


def test_a_method_that_may_answer_at_once_is_asked_on_the_loop_when_it_cannot(name: str) -> None:
    async def scenario(setup: Setup) -> None:
        assert await setup.call(NOW, b"later") == b"/t.T/Now  later"
        answers = await asyncio.gather(*(setup.call(NOW, b"x") for _ in range(50)))
        expected = b"now x" if name == "native" else b"/t.T/Now  x"
        assert answers == [expected] * 50

    run(name, scenario)


def test_a_slow_call_does_not_hold_up_others(name: str) -> None:
    async def scenario(setup: Setup) -> None:
        slow = asyncio.ensure_future(_answer(setup.call(WAIT, b"s")))
        await setup.table.waiting.wait()
        assert await setup.call(ECHO, b"x") == b"/t.T/Echo  x"
        assert not slow.done()
        setup.table.release.set()
        assert await slow == b"/t.T/Wait  s"

    run(name, scenario)


async def _answer(call: Any) -> Any:
    return await call


def test_failures_have_their_status_and_the_server_goes_on(name: str) -> None:
    async def scenario(setup: Setup) -> None:
        assert await setup.error(FAIL) == (grpc.StatusCode.NOT_FOUND, "nothing here")
        assert await setup.error(NOW_FAIL) == (grpc.StatusCode.NOT_FOUND, "nothing here now")
        assert await setup.error(CRASH) == (grpc.StatusCode.INTERNAL, "internal error")
        assert await setup.error(NOW_CRASH) == (grpc.StatusCode.INTERNAL, "internal error")
        assert (await setup.error("/t.T/Unknown"))[0] is grpc.StatusCode.UNIMPLEMENTED
        assert await setup.call(ECHO, b"x") == b"/t.T/Echo  x"

    run(name, scenario)


def test_a_message_over_the_limit_is_refused_and_one_at_the_limit_is_taken(name: str) -> None:
    async def scenario(setup: Setup) -> None:
        for method in (ECHO, NOW):
            code, details = await setup.error(method, bytes(LIMIT + 1))
            assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert str(LIMIT) in details
        assert len(await setup.call(ECHO, bytes(LIMIT))) > LIMIT

    run(name, scenario)


def test_metadata_over_the_limit_is_refused_and_the_server_goes_on(name: str) -> None:
    async def scenario(setup: Setup) -> None:
        for size in (20_000, 1_000_000):
            async with grpc.aio.insecure_channel(setup.edge.address) as channel:
                call = channel.unary_unary(ECHO)(b"", metadata=[("a", "v" * size)], timeout=20)
                with pytest.raises(grpc.RpcError):
                    await call
        assert await setup.call(ECHO, b"x") == b"/t.T/Echo  x"

    run(name, scenario)


def test_a_call_is_cancelled_when_its_client_goes(name: str) -> None:
    async def scenario(setup: Setup) -> None:
        call = setup.call(WAIT)
        await setup.table.waiting.wait()
        call.cancel()
        await asyncio.wait_for(setup.table.cancelled.wait(), 10)

    run(name, scenario)


def test_a_call_is_cancelled_when_its_deadline_passes(name: str) -> None:
    async def scenario(setup: Setup) -> None:
        call = setup._channel.unary_unary(WAIT)(b"", timeout=0.2)
        with pytest.raises(grpc.RpcError) as caught:
            await call
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.wait_for(setup.table.cancelled.wait(), 10)

    run(name, scenario)


def test_closing_lets_calls_in_flight_finish_and_refuses_new_ones(name: str) -> None:
    async def scenario(setup: Setup) -> None:
        calls = [asyncio.ensure_future(_answer(setup.call(WAIT, b"s"))) for _ in range(20)]
        await setup.table.waiting.wait()
        await setup.call(ECHO)
        closing = asyncio.ensure_future(setup.edge.close())
        await asyncio.sleep(0)
        code = None
        while code is not grpc.StatusCode.UNAVAILABLE:
            with pytest.raises(grpc.RpcError) as caught:
                # Until the edge drains, a call is still taken: it runs into this deadline.
                await setup._channel.unary_unary(WAIT)(b"", timeout=0.1)
            code = caught.value.code()
        assert not any(call.done() for call in calls)
        setup.table.release.set()
        assert await asyncio.gather(*calls) == [b"/t.T/Wait  s"] * 20
        await closing
        await setup.edge.close()

    run(name, scenario)


def test_closing_ends_calls_that_outlast_the_grace(name: str) -> None:
    async def main() -> None:
        table = Table()
        edge = make_edge(name, table, EdgeSettings(grace_s=0.1))
        await edge.start()
        async with grpc.aio.insecure_channel(edge.address) as channel:
            call = asyncio.ensure_future(_answer(channel.unary_unary(WAIT)(b"", timeout=20)))
            await table.waiting.wait()
            await edge.close()
            with pytest.raises(grpc.RpcError) as caught:
                await call
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert table.cancelled.is_set()

    asyncio.run(main())


def test_a_stream_gives_its_messages_in_order_and_ends(name: str) -> None:
    async def scenario(setup: Setup) -> None:
        setup.table.release.set()
        for count in (0, 1, 500):
            found = [message async for message in setup.stream(COUNT, str(count).encode())]
            assert found == [str(number).encode() for number in range(count)]

    run(name, scenario)


def test_a_stream_tells_what_it_has_before_it_ends_and_holds_up_nobody(name: str) -> None:
    async def scenario(setup: Setup) -> None:
        call = setup.stream(COUNT, b"2")
        assert [await call.read(), await call.read()] == [b"0", b"1"]
        assert await setup.call(ECHO, b"x") == b"/t.T/Echo  x"
        setup.table.release.set()
        assert await call.read() is grpc.aio.EOF

    run(name, scenario)


def test_a_stream_that_fails_has_its_status(name: str) -> None:
    async def scenario(setup: Setup) -> None:
        for method, code, details in (
            (COUNT_FAIL, grpc.StatusCode.NOT_FOUND, "no more"),
            (COUNT_CRASH, grpc.StatusCode.INTERNAL, "internal error"),
        ):
            call = setup.stream(method, b"1")
            assert await call.read() == b"0"
            with pytest.raises(grpc.RpcError) as caught:
                await call.read()
            assert (caught.value.code(), caught.value.details()) == (code, details)
        assert await setup.call(ECHO, b"x") == b"/t.T/Echo  x"

    run(name, scenario)


def test_a_stream_is_closed_when_its_client_goes(name: str) -> None:
    async def scenario(setup: Setup) -> None:
        call = setup.stream(COUNT, b"1")
        assert await call.read() == b"0"
        call.cancel()
        await asyncio.wait_for(setup.table.cancelled.wait(), 10)

    run(name, scenario)


def test_closing_ends_streams_at_once_and_waits_for_calls(name: str) -> None:
    async def scenario(setup: Setup) -> None:
        stream = setup.stream(COUNT, b"1")
        assert await stream.read() == b"0"
        await setup.table.waiting.wait()
        setup.table.waiting.clear()
        call = asyncio.ensure_future(_answer(setup.call(WAIT, b"s")))
        await setup.table.waiting.wait()
        closing = asyncio.ensure_future(setup.edge.close())
        with pytest.raises(grpc.RpcError) as caught:
            await stream.read()
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert not call.done()
        setup.table.release.set()
        assert await call == b"/t.T/Wait  s"
        await closing

    run(name, scenario)


def test_a_taken_port_is_an_error_that_names_it(name: str) -> None:
    async def main() -> None:
        async with running(name) as setup:
            settings = EdgeSettings(port=setup.edge.port)
            second = make_edge(name, Table(), settings)
            with pytest.raises(ConfigError, match=str(setup.edge.port)):
                await second.start()

    asyncio.run(main())


def test_two_edges_serve_side_by_side(name: str) -> None:
    async def main() -> None:
        async with running(name) as one, running(name) as other:
            assert one.edge.port != other.edge.port
            assert await one.call(ECHO, b"1") == b"/t.T/Echo  1"
            assert await other.call(ECHO, b"2") == b"/t.T/Echo  2"

    asyncio.run(main())
