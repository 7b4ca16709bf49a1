"""The internal hop beside unary grpc.aio: two processes, one connection, both on uvloop.

A request of 600 bytes, an answer of 120. Ours carries real messages, encoded and decoded at both
ends and answered by a handler; gRPC carries ready bytes. The two take turns within one run.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from statistics import median
from typing import Any

import grpc.aio
import uvloop

from benchmarks.table import row
from mishards.core.ids import CollectionId, MetadataVersion, SegmentId, Timestamp
from mishards.core.runtime import SystemRuntime
from mishards.rpc.frames import REPLY, REQUEST, frame_of, request_frame
from mishards.rpc.messages import Message, ReadPoint, Reply, Search, SearchPartial
from mishards.rpc.protocol import CallContext
from mishards.rpc.tcp import FramedTransport

REQUEST_BYTES = 600
ANSWER_BYTES = 120
GOAL_US = 100
GOAL_RATIO = 8
_METHOD = "/mishards.Hop/Call"
_AT = ReadPoint(
    collection=CollectionId(1 << 58),
    version=MetadataVersion(100),
    checkpoint=Timestamp(1 << 58),
    read_ts=Timestamp(1 << 58),
    segments=(SegmentId(1 << 58),),
)
_Call = Callable[[], Awaitable[object]]


def _request(padding: int) -> Search:
    return Search(at=_AT, field="vector", queries=b"q" * padding, nq=1, k=10)


def _answer(padding: int) -> SearchPartial:
    return SearchPartial(
        counts=b"c" * 4, keys=b"k" * padding, distances=b"", timestamps=b"", units=b"", offsets=b""
    )


_FITTING = 300 - len(request_frame(REQUEST, 1, _request(300), 1.0, ""))
REQUEST_MESSAGE = _request(REQUEST_BYTES + _FITTING)
ANSWER_MESSAGE = _answer(ANSWER_BYTES + 50 - len(frame_of(REPLY, 1, _answer(50))))


class _Server:
    """Answers everything at once, in a task of its own as a role does."""

    async def handle(self, message: Message, context: CallContext) -> Reply:
        return ANSWER_MESSAGE

    def handle_now(self, message: Message, traceparent: str = "") -> Reply | None:
        return None

    def stream(self, message: Message, context: CallContext) -> AsyncIterator[Reply]:
        raise NotImplementedError


async def _serve() -> None:
    """Both servers in one process; prints their addresses; ends with its standard input."""
    transport = FramedTransport(SystemRuntime())
    listener = await transport.listen("tcp://127.0.0.1:0", _Server())
    unix = await transport.listen(f"unix://{sys.argv[2]}/hop", _Server())
    server = grpc.aio.server()
    answer = b"a" * ANSWER_BYTES

    async def call(request: bytes, context: Any) -> bytes:
        return answer

    _, service, method = _METHOD.split("/")
    methods = {method: grpc.unary_unary_rpc_method_handler(call)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(listener.address, unix.address, f"127.0.0.1:{port}", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.stop(None)
    await listener.close()
    await unix.close()


async def _one_by_one(call: _Call, count: int) -> list[float]:
    """Seconds of each round trip."""
    found = []
    for _ in range(count):
        began = time.perf_counter()
        await call()
        found.append(time.perf_counter() - began)
    return found


async def _together(call: _Call, count: int, in_flight: int) -> float:
    """Round trips a second with `in_flight` callers."""

    async def caller() -> None:
        for _ in range(count // in_flight):
            await call()

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(in_flight)))
    return count / (time.perf_counter() - began)


async def _measure(addresses: list[str], quick: bool) -> list[dict[str, Any]]:
    transport = FramedTransport(SystemRuntime())
    tcp, unix = (transport.channel(address) for address in addresses[:2])
    rounds, count = (4, 500) if quick else (10, 3000)
    latencies: dict[str, list[float]] = {"tcp": [], "unix": [], "grpc": []}
    rates: dict[str, list[float]] = {"tcp": [], "grpc": []}
    async with grpc.aio.insecure_channel(addresses[2]) as channel:
        unary = channel.unary_unary(_METHOD)
        request = b"q" * REQUEST_BYTES
        calls: dict[str, _Call] = {
            "tcp": lambda: tcp.call(REQUEST_MESSAGE, timeout_s=10.0),
            "unix": lambda: unix.call(REQUEST_MESSAGE, timeout_s=10.0),
            "grpc": lambda: unary(request, timeout=10.0),
        }
        for call in calls.values():
            await _one_by_one(call, 200)
        for _ in range(rounds):
            for name, call in calls.items():
                latencies[name] += await _one_by_one(call, count // (5 if name == "grpc" else 1))
            for name in rates:
                rates[name].append(await _together(calls[name], count, 16))
    await transport.close()
    middle = {name: median(found) * 1e6 for name, found in latencies.items()}
    per_second = {name: len(found) / sum(found) for name, found in latencies.items()}
    busy = {name: median(found) for name, found in rates.items()}
    return [
        _row("one after another over TCP, p50", middle["tcp"], middle["grpc"], "µs", goal=True),
        _row("one after another over a Unix socket, p50", middle["unix"], middle["grpc"], "µs"),
        _row("one after another over TCP", per_second["tcp"], per_second["grpc"], "/s"),
        _row("16 in flight over TCP", busy["tcp"], busy["grpc"], "/s"),
    ]


def _row(what: str, ours: float, theirs: float, unit: str, *, goal: bool = False) -> dict[str, Any]:
    return row(
        f"internal hop, {what} ({unit})",
        "unary grpc.aio",
        ours,
        theirs,
        ratio=theirs / ours if unit == "µs" else ours / theirs,
        at_least=GOAL_RATIO if goal else None,
        at_most=GOAL_US if goal else None,
    )


def run(quick: bool) -> list[dict[str, Any]]:
    """Rows of the table; `ratio` says how many times better ours is."""
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.hop", "serve", folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as server,
    ):
        assert server.stdout is not None
        addresses = server.stdout.readline().split()
        return uvloop.run(_measure(addresses, quick))


if __name__ == "__main__":
    uvloop.run(_serve())
