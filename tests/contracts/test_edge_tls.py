"""TLS at the edge, with a certificate made on the spot."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import grpc
import grpc.aio
import pytest

from mishards.api.milvus.edge.grpcio import GrpcioEdge
from mishards.api.milvus.edge.protocol import EdgeSettings
from mishards.api.milvus.edge.registry import make_edge
from mishards.core.errors import ConfigError

ECHO = "/t.T/Echo"


class Table:
    methods = (ECHO,)
    inline = ()

    def calls_now(self, method: str, calls: Sequence[tuple[bytes, str]]) -> list[bytes | None]:
        return [None] * len(calls)

    async def call(self, method: str, payload: bytes, database: str) -> bytes:
        return payload


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[str, str]:
    """Paths of a self-signed certificate for localhost and of its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed, and it makes the certificate")
    key, pem = str(tmp_path / "key.pem"), str(tmp_path / "certificate.pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "1", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", pem],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return pem, key


def test_auto_serves_tls_and_refuses_plain_text(certificate: tuple[str, str]) -> None:
    pem, key = certificate
    credentials = grpc.ssl_channel_credentials(Path(pem).read_bytes())

    async def main() -> None:
        settings = EdgeSettings(tls_certificate=pem, tls_key=key)
        edge = make_edge("auto", Table(), settings)
        assert isinstance(edge, GrpcioEdge)
        await edge.start()
        try:
            async with grpc.aio.secure_channel(edge.address, credentials) as channel:
                assert await channel.unary_unary(ECHO)(b"secret", timeout=20) == b"secret"
            async with grpc.aio.insecure_channel(edge.address) as channel:
                with pytest.raises(grpc.RpcError) as caught:
                    await channel.unary_unary(ECHO)(b"plain", timeout=20)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        finally:
            await edge.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("native", EdgeSettings(tls_certificate="c.pem", tls_key="k.pem"), "no TLS"),
        ("grpcio", EdgeSettings(tls_certificate="c.pem"), "tls_key"),
        ("grpcio", EdgeSettings(tls_certificate="/no/c.pem", tls_key="/no/k.pem"), "/no/"),
        ("twisted", EdgeSettings(), "auto, native, grpcio"),
    ],
)
def test_wrong_settings_are_named(name: str, settings: EdgeSettings, message: str) -> None:
    async def main() -> None:
        with pytest.raises(ConfigError, match=message):
            await make_edge(name, Table(), settings).start()

    asyncio.run(main())
