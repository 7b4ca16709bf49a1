"""TLS at the edge: with a certificate of the server alone, and with one of the client too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from mishards.api.milvus.edge.grpcio import GrpcioEdge
from mishards.api.milvus.edge.protocol import Edge, EdgeCall, EdgeSettings
from mishards.api.milvus.edge.registry import make_edge
from mishards.core.errors import ConfigError
from mishards.testing.certificates import Authority
from mishards.tls.files import TlsFiles

ECHO = "/t.T/Echo"


class Table:
    methods = (ECHO,)
    streams = ()
    inline = ()

    def calls_now(self, method: str, calls: Sequence[EdgeCall]) -> list[bytes | None]:
        return [None] * len(calls)

    async def call(self, method: str, payload: bytes, database: str, begun: object = None) -> bytes:
        return payload

    async def stream(self, method: str, payload: bytes) -> AsyncGenerator[bytes]:
        yield payload


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@asynccontextmanager
async def served(files: TlsFiles, *, mutual: bool = False) -> AsyncIterator[Edge]:
    settings = EdgeSettings(
        tls_certificate=files.certificate, tls_key=files.key, tls_client_ca=files.ca * mutual
    )
    edge = make_edge("auto", Table(), settings)
    assert isinstance(edge, GrpcioEdge)
    await edge.start()
    try:
        yield edge
    finally:
        await edge.close()


def client(ca: str, own: TlsFiles | None = None) -> Any:
    """Credentials of a client that trusts `ca` and shows `own`."""
    pair = (None, None)
    if own is not None:
        pair = (Path(own.key).read_bytes(), Path(own.certificate).read_bytes())
    return grpc.ssl_channel_credentials(Path(ca).read_bytes(), *pair)


async def status(edge: Edge, credentials: Any) -> Any:
    """How a call ends on a connection of its own."""
    # Channels with equal arguments share connections; these options make them differ.
    options = [("mishards.test", str(id(object()))), ("grpc.use_local_subchannel_pool", 1)]
    async with (
        grpc.aio.insecure_channel(edge.address, options=options)
        if credentials is None
        else grpc.aio.secure_channel(edge.address, credentials, options=options)
    ) as channel:
        try:
            assert await channel.unary_unary(ECHO)(b"text", timeout=20) == b"text"
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def spoil(files: TlsFiles) -> None:
    Path(files.key).write_text("half a key")


def replace(files: TlsFiles, new: TlsFiles) -> None:
    Path(new.certificate).replace(files.certificate)
    Path(new.key).replace(files.key)


OK, REFUSED = grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE


def test_auto_serves_tls_and_refuses_plain_text(authority: Authority) -> None:
    async def main() -> None:
        async with served(authority.issue()) as edge:
            assert await status(edge, client(authority.ca)) is OK
            assert await status(edge, None) is REFUSED

    asyncio.run(main())


def test_mutual_tls_takes_clients_of_its_authority_alone(
    authority: Authority, tmp_path: Path
) -> None:
    other = Authority(tmp_path, "other")

    async def main() -> None:
        async with served(authority.issue(), mutual=True) as edge:
            assert await status(edge, client(authority.ca, authority.issue("client"))) is OK
            assert await status(edge, client(authority.ca)) is REFUSED
            assert await status(edge, client(authority.ca, other.issue("client"))) is REFUSED

    asyncio.run(main())


def test_changed_files_are_used_and_connections_go_on(authority: Authority, tmp_path: Path) -> None:
    files = authority.issue()

    async def main() -> None:
        async with (
            served(files) as edge,
            grpc.aio.secure_channel(edge.address, client(authority.ca)) as channel,
        ):
            assert await channel.unary_unary(ECHO)(b"before", timeout=20) == b"before"

            spoil(files)  # what was loaded stays
            assert await status(edge, client(authority.ca)) is OK

            successor = Authority(tmp_path, "successor")
            replace(files, successor.issue())
            assert await status(edge, client(successor.ca)) is OK
            assert await status(edge, client(authority.ca)) is REFUSED
            assert await channel.unary_unary(ECHO)(b"after", timeout=20) == b"after"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("native", EdgeSettings(tls_certificate="c.pem", tls_key="k.pem"), "no TLS"),
        ("grpcio", EdgeSettings(tls_certificate="c.pem"), "tls_key"),
        ("auto", EdgeSettings(tls_key="k.pem"), "tls_certificate"),
        ("auto", EdgeSettings(tls_client_ca="ca.pem"), "tls_certificate"),
        ("grpcio", EdgeSettings(tls_certificate="/no/c.pem", tls_key="/no/k.pem"), "/no/"),
        ("twisted", EdgeSettings(), "auto, native, grpcio"),
    ],
)
def test_wrong_settings_are_named(name: str, settings: EdgeSettings, message: str) -> None:
    async def main() -> None:
        with pytest.raises(ConfigError, match=message):
            await make_edge(name, Table(), settings).start()

    asyncio.run(main())
