"""The edge on grpcio's asyncio server: for TLS, and wherever the native one is missing.

Invariant: every call runs on the loop, so `calls_now` is never used.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from mishards.api.milvus.edge.protocol import (
    CLOSING,
    DATABASE_METADATA,
    INTERNAL,
    UNAVAILABLE,
    EdgeSettings,
    GrpcFailure,
    MethodTable,
    tls_files,
)
from mishards.core.errors import ConfigError
from mishards.observability.propagation import Header, trace_start
from mishards.tls.files import TlsFiles, check
from mishards.tls.watched import Watched

_log = logging.getLogger(__name__)

_CODES = {code.value[0]: code for code in grpc.StatusCode}


class GrpcioEdge:
    """Serves a method table through `grpc.aio`."""

    def __init__(self, table: MethodTable, settings: EdgeSettings) -> None:
        self._table = table
        self._settings = settings
        self._server: Any = None
        self._streams = _Streams(table)
        self.port = 0

    @property
    def address(self) -> str:
        return f"{self._settings.host}:{self.port}"

    async def start(self) -> None:
        target = f"{self._settings.host}:{self._settings.port}"
        server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", self._settings.max_message_bytes),
                ("grpc.max_send_message_length", -1),
                # Two servers on one port would share its calls by chance.
                ("grpc.so_reuseport", 0),
                # Clients ping every ten seconds, calls or not.
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_recv_ping_interval_without_data_ms", 5000),
            ]
        )
        traced = self._settings.trace_context
        server.add_generic_rpc_handlers((_Handlers(self._table, self._streams, traced=traced),))
        try:
            if (files := tls_files(self._settings)) is not None:
                credentials = await asyncio.get_running_loop().run_in_executor(
                    None, _credentials, files
                )
                self.port = server.add_secure_port(target, credentials)
            else:
                self.port = server.add_insecure_port(target)
        except RuntimeError as error:
            raise ConfigError(f"cannot listen on {target}: {error}") from error
        await server.start()
        self._server = server

    async def close(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            self._streams.end()
            await server.stop(self._settings.grace_s)


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Finds the handler of a path; the same object for every call of a method."""

    def __init__(self, table: MethodTable, streams: _Streams, *, traced: bool) -> None:
        self._handlers = {
            path: grpc.unary_unary_rpc_method_handler(_serve(table, path, traced=traced))
            for path in table.methods
        } | {
            path: grpc.unary_stream_rpc_method_handler(streams.serving(path))
            for path in table.streams
        }

    def service(self, details: Any) -> Any:
        return self._handlers.get(details.method)


def _serve(
    table: MethodTable, path: str, *, traced: bool
) -> Callable[[bytes, Any], Awaitable[bytes]]:
    async def serve(payload: bytes, context: Any) -> bytes:
        try:
            headers = context.invocation_metadata() or ()
            start = trace_start(headers) if traced else None
            return await table.call(path, payload, _database(headers), start)
        except GrpcFailure as error:
            failure = error
        except Exception:
            _log.exception("a call of %s failed unexpectedly", path)
            failure = GrpcFailure(INTERNAL, "internal error")
        await context.abort(_CODES[failure.code], failure.message)
        raise failure

    return serve


class _Streams:
    """Serves calls that are answered by many messages; ends them all at once.

    Invariant: the server waits for nothing that only ends when the client goes.
    """

    def __init__(self, table: MethodTable) -> None:
        self._table = table
        self._running: set[asyncio.Task[None]] = set()
        self._closing = False

    def serving(self, path: str) -> Callable[[bytes, Any], Awaitable[None]]:
        """The handler of a path."""

        async def serve(payload: bytes, context: Any) -> None:
            sending = asyncio.create_task(self._send(path, payload, context))
            self._running.add(sending)
            try:
                await sending
                return
            except GrpcFailure as error:
                failure = error
            except asyncio.CancelledError:
                if not self._closing:
                    raise
                failure = GrpcFailure(UNAVAILABLE, CLOSING)
            except Exception:
                _log.exception("a stream of %s failed unexpectedly", path)
                failure = GrpcFailure(INTERNAL, "internal error")
            finally:
                self._running.discard(sending)
            await context.abort(_CODES[failure.code], failure.message)

        return serve

    async def _send(self, path: str, payload: bytes, context: Any) -> None:
        async with aclosing(self._table.stream(path, payload)) as messages:
            async for message in messages:
                await context.write(message)

    def end(self) -> None:
        self._closing = True
        for sending in self._running:
            sending.cancel()


def _database(headers: Iterable[Header]) -> str:
    for key, value in headers:
        if key == DATABASE_METADATA:
            return value if isinstance(value, str) else value.decode("utf-8", "replace")
    return ""


def _credentials(files: TlsFiles) -> Any:
    """Credentials that look at the files before each handshake; connections go on as they are."""
    watched = Watched(files, _configuration)
    return grpc.dynamic_ssl_server_credentials(
        watched.current, watched.renewed, require_client_authentication=bool(files.ca)
    )


def _configuration(files: TlsFiles) -> Any:
    check(files)
    read = {what: Path(path).read_bytes() for what, path in files.named}
    return grpc.ssl_server_certificate_configuration(
        [(read["key"], read["certificate"])], read.get("CA")
    )
