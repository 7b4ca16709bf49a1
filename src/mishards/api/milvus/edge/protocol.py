"""What an edge is: a gRPC server that carries raw bytes between clients and a method table.

Invariants: an edge knows neither protobuf nor the proxy; whatever a call does, the server goes on
serving; closing lets calls in flight finish and refuses new ones as unavailable.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Sequence
from typing import NamedTuple, Protocol

import msgspec

from mishards.core.errors import ConfigError
from mishards.observability.tracing import Recorder, TraceStart
from mishards.tls.files import TlsFiles

# Numbers of google.rpc.Code.
INVALID_ARGUMENT = 3
NOT_FOUND = 5
RESOURCE_EXHAUSTED = 8
UNIMPLEMENTED = 12
INTERNAL = 13
UNAVAILABLE = 14

NOT_TAKEN = "the server is shutting down; the call was not taken"
"""What a call is told that came too late: nothing was done for it, so it may be repeated."""
CLOSING = "the server is shutting down"

DATABASE_METADATA = "dbname"
"""Metadata key in which Milvus clients name the database of a call."""


class GrpcFailure(Exception):
    """A call that ends with a gRPC status other than OK."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


class EdgeCall(NamedTuple):
    """A call as it arrived.

    Attributes:
        database: that its metadata names, or empty.
        start: what its metadata says of the caller's trace; None for nothing.
    """

    payload: bytes
    database: str = ""
    start: TraceStart | None = None


class MethodTable(Protocol):
    """The methods that an edge serves; a request is one message each."""

    @property
    def methods(self) -> Collection[str]:
        """Full paths of those with one answer, such as
        `/milvus.proto.milvus.MilvusService/Search`."""

    @property
    def streams(self) -> Collection[str]:
        """Full paths of those that answer with any number of messages."""

    @property
    def inline(self) -> Collection[str]:
        """Those of `methods` for which `calls_now` may have answers."""

    def calls_now(self, method: str, calls: Sequence[EdgeCall]) -> list[bytes | Recorder | None]:
        """Answers to calls that arrived together, as far as they can be computed at once in the
        calling thread. For those that cannot None, or what has recorded the attempt: `call` is
        to go on with that.

        Any thread. Raises nothing.
        """

    async def call(
        self, method: str, payload: bytes, database: str, begun: TraceStart | Recorder | None = None
    ) -> bytes:
        """Answer one call; cancelled when the client goes or its deadline passes.

        From the loop's thread. Raises nothing but `GrpcFailure`.

        Args:
            database: that its metadata names, or empty.
            begun: what its metadata says of the caller's trace, or what `calls_now` gave for it.
        """

    def stream(self, method: str, payload: bytes) -> AsyncGenerator[bytes]:
        """The messages that answer a call of one of `streams`; ended early when the client goes
        or the edge closes.

        From the loop's thread. Raises nothing but `GrpcFailure`.
        """


class EdgeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of an edge.

    Attributes:
        port: 0 takes a free one.
        threads: that receive calls and answer what can be answered at once, where the edge has
            such.
        io_threads: that carry bytes, where the edge has such.
        batch: most calls that one such thread takes at a time.
        spin_s: how long such a thread looks for the next call before it sleeps.
        tls_certificate: PEM file; with `tls_key` it turns TLS on.
        tls_client_ca: PEM file; a client then needs a certificate of one of its authorities.
        trace_context: whether calls are to tell what their headers say of the caller's trace.
        max_message_bytes: greatest request; a larger one fails with RESOURCE_EXHAUSTED.
        grace_s: how long closing waits for calls in flight.
    """

    host: str = "127.0.0.1"
    port: int = 0
    threads: int = 2
    io_threads: int = 2
    batch: int = 4
    spin_s: float = 0.0
    tls_certificate: str = ""
    tls_key: str = ""
    tls_client_ca: str = ""
    trace_context: bool = False
    max_message_bytes: int = 64 * 1024 * 1024
    grace_s: float = 10.0


def tls_files(settings: EdgeSettings) -> TlsFiles | None:
    """The files of an edge that is to serve TLS, None for one that is not.

    Raises:
        ConfigError: some are named that are of no use without the others.
    """
    certificate, key = settings.tls_certificate, settings.tls_key
    if not (certificate or key or settings.tls_client_ca):
        return None
    if not (certificate and key):
        raise ConfigError(
            "TLS at the Milvus API needs both tls_certificate and tls_key, not "
            f"{certificate!r} and {key!r}"
        )
    return TlsFiles(certificate=certificate, key=key, ca=settings.tls_client_ca)


class Edge(Protocol):
    """A server of one method table. All coroutines: from the loop's thread."""

    @property
    def port(self) -> int:
        """The port that was taken; 0 before `start`."""

    @property
    def address(self) -> str:
        """`host:port`."""

    async def start(self) -> None:
        """Listen and serve.

        Raises:
            ConfigError: the address cannot be used, or the TLS files cannot.
        """

    async def close(self) -> None:
        """End streams, refuse new calls, let those in flight finish within `grace_s`, stop.
        Idempotent."""


def too_large(size: int, limit: int) -> str:
    """What a client is told whose request is over the limit."""
    return f"request of {size} bytes is larger than the limit of {limit} bytes"
