"""The edge on `pygrpc_native`: HTTP/2 in Rust outside the GIL, calls in batches of raw bytes.

Invariants: calls that may be answered at once are answered in the thread that received them; all
others of a batch go to the loop with one wake-up. No call that was received is left unanswered.
No TLS.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import aclosing
from typing import Any

from pygrpc_native import EVENT_CALL, STREAM_CLOSED, STREAM_FULL, NativeGrpcFront

from mishards.api.milvus.edge.protocol import (
    CLOSING,
    DATABASE_METADATA,
    INTERNAL,
    NOT_TAKEN,
    RESOURCE_EXHAUSTED,
    UNAVAILABLE,
    EdgeCall,
    EdgeSettings,
    GrpcFailure,
    MethodTable,
    tls_files,
    too_large,
)
from mishards.api.milvus.edge.waiting import CallWaiter
from mishards.core.errors import ConfigError
from mishards.observability.propagation import trace_start
from mishards.observability.tracing import Recorder, TraceStart

_log = logging.getLogger(__name__)

_BATCH = 64
_CLOSE_GRACE_S = 0.05
"""Time for the last answers to leave the process before connections close."""

_Event = tuple[Any, ...]
"""Kind, number of the call and of the method, payload, client key; and the call's headers in its
details, where calls are to tell of the caller's trace."""


class NativeEdge:
    """Serves a method table through `NativeGrpcFront`."""

    def __init__(self, table: MethodTable, settings: EdgeSettings) -> None:
        self._table = table
        self._settings = settings
        self._paths = [*table.methods, *table.streams]
        self._streams = frozenset(table.streams)
        self._inline = [path in table.inline for path in self._paths]
        self._front: NativeGrpcFront | None = None
        self._receivers: list[_Receiver] = []
        self._calls: dict[int, asyncio.Task[None]] = {}
        self._begun: dict[int, Recorder] = {}
        self._start = _told_start if settings.trace_context else _no_start
        self._streaming: set[asyncio.Task[None]] = set()
        self._draining = False
        self.port = 0

    @property
    def address(self) -> str:
        return f"{self._settings.host}:{self.port}"

    async def start(self) -> None:
        if tls_files(self._settings) is not None:
            raise ConfigError("the native edge serves no TLS: use the grpcio edge")
        target = f"{self._settings.host}:{self._settings.port}"
        try:
            # Only with call details does the front tell of cancelled calls.
            front = NativeGrpcFront(
                target,
                [(path, path in self._streams) for path in self._paths],
                client_key_metadata=DATABASE_METADATA,
                call_details=True,
                io_threads=self._settings.io_threads,
            )
            front.start()
        except (OSError, ValueError, RuntimeError) as error:
            raise ConfigError(f"cannot listen on {target}: {error}") from error
        self._front = front
        self.port = front.bound_port
        loop = asyncio.get_running_loop()
        turn = threading.Lock()
        self._receivers = [
            _Receiver(self, front, loop, number, turn) for number in range(self._settings.threads)
        ]
        for receiver in self._receivers:
            receiver.thread.start()

    async def close(self) -> None:
        front, self._front = self._front, None
        if front is None:
            return
        self._draining = True
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._settings.grace_s
        for receiver in self._receivers:
            await loop.run_in_executor(None, receiver.wait_idle, self._settings.grace_s)
        await asyncio.sleep(0)  # what the receivers handed over becomes tasks
        for stream in self._streaming:
            stream.cancel()
        tasks = list(self._calls.values())
        if tasks:
            await asyncio.wait(tasks, timeout=max(0.0, deadline - loop.time()))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(_CLOSE_GRACE_S)
        await loop.run_in_executor(None, front.close)
        for receiver in self._receivers:
            await loop.run_in_executor(None, receiver.thread.join)

    def receive(
        self, front: NativeGrpcFront, loop: asyncio.AbstractEventLoop, events: list[_Event]
    ) -> None:
        """Answer or hand over one batch. From a receiver's thread."""
        if self._draining:
            for kind, call_id, *_ in events:
                if kind == EVENT_CALL:
                    front.fail(call_id, UNAVAILABLE, NOT_TAKEN)
            events = [event for event in events if event[0] != EVENT_CALL]
            if not events:
                return
        inline = self._inline
        at_once = [event for event in events if event[0] == EVENT_CALL and inline[event[2]]]
        if len(at_once) < len(events):
            others = (
                [event for event in events if event[0] != EVENT_CALL or not inline[event[2]]]
                if at_once
                else events
            )
            loop.call_soon_threadsafe(self._take, front, others)
        if not at_once:
            return
        by_method: dict[int, list[_Event]] = {}
        for event in at_once:
            by_method.setdefault(event[2], []).append(event)
        for method_id, calls in by_method.items():
            if rest := self._unanswered(front, method_id, calls):
                loop.call_soon_threadsafe(self._take, front, rest)

    def _unanswered(
        self, front: NativeGrpcFront, method_id: int, events: list[_Event]
    ) -> list[_Event]:
        """Answer what can be answered at once; the calls that cannot."""
        limit = self._settings.max_message_bytes
        rest, calls, fitting = [], [], []
        for event in events:
            payload = event[3]
            assert payload is not None
            if len(payload) > limit:
                rest.append(event)
            else:
                fitting.append(event)
                calls.append(EdgeCall(payload, _database(event[4]), self._start(event)))
        try:
            answers = self._table.calls_now(self._paths[method_id], calls)
        except Exception:
            _log.exception("calls of %s failed unexpectedly", self._paths[method_id])
            for event in fitting:
                front.fail(event[1], INTERNAL, "internal error")
            return rest
        for event, answer in zip(fitting, answers, strict=True):
            if isinstance(answer, bytes):
                front.respond(event[1], answer)
                continue
            rest.append(event)
            if answer is not None:
                self._begun[event[1]] = answer
        return rest

    def _take(self, front: NativeGrpcFront, events: list[_Event]) -> None:
        """Start tasks for calls, and end those that were cancelled. On the loop."""
        create_task = asyncio.get_running_loop().create_task
        limit = self._settings.max_message_bytes
        for event in events:
            kind, call_id, method_id, payload, key = event[:5]
            if kind != EVENT_CALL:
                if (task := self._calls.get(call_id)) is not None:
                    task.cancel()
                continue
            assert payload is not None
            if len(payload) > limit:
                front.fail(call_id, RESOURCE_EXHAUSTED, too_large(len(payload), limit))
                continue
            path = self._paths[method_id]
            begun = self._begun.pop(call_id, None) or self._start(event)
            task = create_task(self._serve(front, call_id, path, payload, _database(key), begun))
            self._calls[call_id] = task
            if path in self._streams:
                self._streaming.add(task)
                task.add_done_callback(self._streaming.discard)

    async def _serve(
        self,
        front: NativeGrpcFront,
        call_id: int,
        path: str,
        payload: bytes,
        database: str,
        begun: TraceStart | Recorder | None,
    ) -> None:
        try:
            if path in self._streams:
                await self._stream(front, call_id, path, payload)
            else:
                front.respond(call_id, await self._table.call(path, payload, database, begun))
        except GrpcFailure as error:
            front.fail(call_id, error.code, error.message)
        except asyncio.CancelledError:
            # The client of a call that the shutdown ends still waits; to others this is nothing.
            front.fail(call_id, UNAVAILABLE, CLOSING)
            raise
        except Exception:
            _log.exception("a call of %s failed unexpectedly", path)
            front.fail(call_id, INTERNAL, "internal error")
        finally:
            del self._calls[call_id]

    async def _stream(
        self, front: NativeGrpcFront, call_id: int, path: str, payload: bytes
    ) -> None:
        loop = asyncio.get_running_loop()
        async with aclosing(self._table.stream(path, payload)) as messages:
            async for message in messages:
                sent = front.stream_try_send(call_id, message)
                if sent == STREAM_FULL:
                    # The client is behind: wait for room off the loop.
                    await loop.run_in_executor(None, front.stream_send, call_id, message)
                elif sent == STREAM_CLOSED:
                    return
        front.stream_end(call_id)


class _Receiver:
    """A thread that takes batches of calls until the front closes."""

    def __init__(
        self,
        edge: NativeEdge,
        front: NativeGrpcFront,
        loop: asyncio.AbstractEventLoop,
        number: int,
        turn: threading.Lock,
    ) -> None:
        self._working = threading.Lock()
        self._edge = edge
        self._front = front
        self._loop = loop
        settings = edge._settings
        batch = settings.batch if any(edge._inline) else _BATCH
        receive = front.recv_batch_details if settings.trace_context else front.recv_batch
        self._waiter = CallWaiter(receive, batch, settings.spin_s, turn)
        # A daemon, so that a program that forgets to close can still end.
        self.thread = threading.Thread(
            target=self._run, name=f"mishards-edge-{number}", daemon=True
        )

    def _run(self) -> None:
        front, receive, loop, waiter = self._front, self._edge.receive, self._loop, self._waiter
        working = self._working
        while (events := waiter.next()) is not None:
            if not events:
                continue
            try:
                with working:
                    receive(front, loop, events)
            except RuntimeError:
                if not loop.is_closed():
                    raise
                front.close()
                return

    def wait_idle(self, timeout_s: float) -> None:
        """Wait until the batch in hand is answered or handed over. Blocks."""
        if self._working.acquire(timeout=timeout_s):
            self._working.release()


def _database(key: Any) -> str:
    """The database in a call's client key; that is the peer, as text, where none is named."""
    return key.decode("utf-8", "replace") if isinstance(key, bytes) else ""


def _told_start(event: _Event) -> TraceStart | None:
    """What the headers of a call say of the caller's trace."""
    details = event[5]
    return None if details is None else trace_start(details[0])


def _no_start(event: _Event) -> None:
    """For calls that come without their headers."""
