"""The Milvus service as a method table: every method by its path, served or told to be missing.

Invariants: what a handler raises becomes the status of the method's own response; a method
without a handler answers as unimplemented, by name, and is never a crash or a silent success.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Collection, Sequence
from typing import Any

import msgspec
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from pymilvus.grpc_gen import milvus_pb2

from mishards.api.health import Health
from mishards.api.milvus import (
    aliases,
    collections,
    compactions,
    databases,
    flushing,
    indexes,
    loading,
    partitions,
    segments,
    system,
)
from mishards.api.milvus.data import DATA_HANDLERS
from mishards.api.milvus.edge.protocol import UNIMPLEMENTED, EdgeCall, GrpcFailure
from mishards.api.milvus.handler import Handle, Handler
from mishards.api.milvus.health import CHECK, WATCH, HealthService
from mishards.api.milvus.measures import CANCELLED, OK, CallMeasures, code_of
from mishards.api.milvus.searches_now import searches_now
from mishards.api.milvus.status import failure, status_field
from mishards.api.milvus.traced import begun, begun_to_explain, ended
from mishards.core.errors import InvalidParameter, Unimplemented
from mishards.observability.instruments import Metrics
from mishards.observability.tracing import Recorder, TraceSink, TraceStart, recorded, recording
from mishards.proxy.calls import ProxyApi

_log = logging.getLogger(__name__)

HANDLERS: dict[str, Handler] = {
    **system.HANDLERS,
    **databases.HANDLERS,
    **collections.HANDLERS,
    **partitions.HANDLERS,
    **aliases.HANDLERS,
    **indexes.HANDLERS,
    **loading.HANDLERS,
    **flushing.HANDLERS,
    **segments.HANDLERS,
    **compactions.HANDLERS,
    **DATA_HANDLERS,
}
"""Handlers by method name."""

_SERVICE = milvus_pb2.DESCRIPTOR.services_by_name["MilvusService"]
_SEARCH = "Search"
SEARCH = f"/{_SERVICE.full_name}/{_SEARCH}"


class _Method(msgspec.Struct, frozen=True):
    """How one path is answered.

    Attributes:
        handle: None where the method is not served.
        database_tag: protobuf tag of the request's database field; empty where it has none.
    """

    name: str
    request: type[Any]
    response: type[Any]
    handle: Handle | None
    database_tag: bytes


class MilvusServicer:
    """`MethodTable` of a proxy."""

    def __init__(
        self,
        proxy: ProxyApi,
        health: Health,
        *,
        inline: bool = False,
        traces: TraceSink | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        """`traces`: None to record nothing; `metrics`: None to measure nothing."""
        self._proxy = proxy
        self._measures = CallMeasures(metrics)
        self._traces = traces
        self._health = HealthService(health, (_SERVICE.full_name,))
        self._methods = _all_methods()
        self.methods: Collection[str] = (*self._methods, CHECK)
        self.streams: Collection[str] = (WATCH,)
        self.inline: Collection[str] = (SEARCH,) if inline else ()

    def calls_now(self, method: str, calls: Sequence[EdgeCall]) -> list[bytes | Recorder | None]:
        if method != SEARCH:
            return [None] * len(calls)
        began_s = self._measures.begin(len(calls))
        failures: list[str] = []
        answers = searches_now(self._proxy, calls, self._traces, failures)
        answered = sum(isinstance(answer, bytes) for answer in answers)
        codes = [OK] * (answered - len(failures)) + failures
        self._measures.end(_SEARCH, began_s, codes, len(calls) - answered)
        return answers

    async def call(
        self,
        method: str,
        payload: bytes,
        database: str,
        start: TraceStart | Recorder | None = None,
    ) -> bytes:
        served = self._methods.get(method)
        if served is None:
            return self._health.check(payload)
        if served.handle is None:
            return _missing(served)
        if database and served.database_tag:
            # Of a field that stands twice the last counts: the request's own name wins.
            payload = _text_field(served.database_tag, database) + payload
        recorder = begun(self._traces, served.name, start)
        if recorder is None and served.name == "Search" and b"explain" in payload:
            recorder = begun_to_explain(self._traces)
        if recorder is None:
            return await self._answer(served, served.handle, payload)
        return await self._traced(served, served.handle, payload, recorder)

    async def _answer(self, served: _Method, handle: Handle, payload: bytes) -> bytes:
        try:
            return await self._served(served, handle, payload)
        except Exception as error:
            return failure(served.response, error)

    async def _served(self, served: _Method, handle: Handle, payload: bytes) -> bytes:
        began_s = self._measures.begin()
        code = CANCELLED
        try:
            answer = await handle(self._proxy, _parse(served, payload))
            code = OK
            return answer if isinstance(answer, bytes) else bytes(answer.SerializeToString())
        except Exception as error:
            code = code_of(error)
            raise
        finally:
            self._measures.end(served.name, began_s, [code])

    async def _traced(
        self, served: _Method, handle: Handle, payload: bytes, recorder: Recorder
    ) -> bytes:
        """As `_answer`, recorded."""
        before = recording(recorder)
        recorder.root.attributes["request_bytes"] = len(payload)
        ending: BaseException | None = None
        try:
            answer = await self._served(served, handle, payload)
            recorder.root.attributes["answer_bytes"] = len(answer)
            return answer
        except Exception as error:
            ending = error
            return failure(served.response, error)
        except BaseException as error:
            ending = error
            raise
        finally:
            recorded(before)
            ended(self._traces, recorder, ending)

    def stream(self, method: str, payload: bytes) -> AsyncGenerator[bytes]:
        return self._health.watch(payload)


def _all_methods() -> dict[str, _Method]:
    """Every unary method of the service by its path."""
    found = {}
    for method in _SERVICE.methods:
        if method.client_streaming or method.server_streaming:
            continue
        handler = HANDLERS.get(method.name)
        found[f"/{_SERVICE.full_name}/{method.name}"] = _Method(
            method.name,
            GetMessageClass(method.input_type),
            GetMessageClass(method.output_type),
            None if handler is None else handler.handle,
            _database_tag(method.input_type),
        )
    return found


def _database_tag(request: Any) -> bytes:
    fields = request.fields_by_name
    field = fields.get("db_name") or fields.get("dbName")
    return b"" if field is None else bytes([field.number << 3 | 2])


def _text_field(tag: bytes, text: str) -> bytes:
    """A serialised text field."""
    data = text.encode()
    length, size = b"", len(data)
    while size > 0x7F:
        length, size = length + bytes([size & 0x7F | 0x80]), size >> 7
    return tag + length + bytes([size]) + data


def _parse(method: _Method, payload: bytes) -> Any:
    try:
        return method.request.FromString(payload)
    except DecodeError as error:
        raise InvalidParameter(
            f"the request is no {method.request.DESCRIPTOR.name}: {error}"
        ) from error


def _missing(method: _Method) -> bytes:
    message = f"method {method.name} is not implemented by Mishards"
    if status_field(method.response) is None:
        raise GrpcFailure(UNIMPLEMENTED, message)
    return failure(method.response, Unimplemented(message))
