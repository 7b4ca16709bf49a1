"""The HTTP endpoint over real connections: its token, TLS with renewal, and who is let go of."""

from __future__ import annotations

import asyncio
import logging
import ssl
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest

from mishards.api.health import Health
from mishards.api.http import limits
from mishards.api.http.config import HttpConfig
from mishards.api.http.health import health_routes
from mishards.api.http.server import HttpServer
from mishards.core.errors import ConfigError
from mishards.core.runtime import SystemRuntime
from mishards.core.secret import Secret
from mishards.testing.certificates import Authority
from mishards.tls.files import TlsFiles

TOKEN = "a-long-t0ken"


def server(config: HttpConfig) -> HttpServer:
    return HttpServer(config, health_routes(Health(SystemRuntime()), "n1", ("reader",)))


def status(url: str, ca: str = "", token: str = "") -> int:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(url, headers=headers)
    context = ssl.create_default_context(cafile=ca) if ca else None
    try:
        with urllib.request.urlopen(request, timeout=20, context=context) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def replace(old: TlsFiles, new: TlsFiles) -> None:
    Path(new.certificate).replace(old.certificate)
    Path(new.key).replace(old.key)


def test_the_token_is_asked_for_over_tls_and_certificates_are_renewed(tmp_path: Path) -> None:
    first, second = Authority(tmp_path, "first"), Authority(tmp_path, "second")
    files, renewed = first.issue(), second.issue()

    async def main() -> None:
        http = server(
            HttpConfig(
                port=0,
                token=Secret(TOKEN),
                tls_certificate=files.certificate,
                tls_key=files.key,
            )
        )
        await http.start()
        try:
            url = f"https://{http.address}"

            async def ask(path: str, ca: str, token: str = "") -> int:
                return await asyncio.to_thread(status, url + path, ca, token)

            assert await ask("/healthz", first.ca) == 200
            assert await ask("/any", first.ca) == 401
            assert await ask("/any", first.ca, TOKEN) == 404
            with pytest.raises(OSError, match=r"reset|closed|EOF|without response"):
                await asyncio.to_thread(status, f"http://{http.address}/any", "", TOKEN)
            replace(files, renewed)
            assert await ask("/healthz", second.ca) == 200
            with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
                await ask("/healthz", first.ca)
        finally:
            await http.close()

    asyncio.run(asyncio.wait_for(main(), 60))


def test_files_of_no_use_stop_the_start(tmp_path: Path) -> None:
    files = Authority(tmp_path).issue()
    with pytest.raises(ConfigError, match=r"needs both http\.tls_certificate and http\.tls_key"):
        server(HttpConfig(tls_certificate=files.certificate))
    with pytest.raises(ConfigError, match=r"gone\.pem"):
        server(HttpConfig(tls_certificate="gone.pem", tls_key=files.key))


def test_who_does_not_say_what_he_wants_is_let_go_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, between two requests, and in the middle of one's headers."""
    monkeypatch.setattr(limits, "HEADERS_WITHIN_S", 0.5)
    whole = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"

    async def main() -> None:
        http = server(HttpConfig(port=0))
        await http.start()
        host, _, port = http.address.rpartition(":")
        try:
            for first, begun in ((b"", b""), (b"", whole[:20]), (whole, whole[:20])):
                reader, writer = await asyncio.open_connection(host, int(port))
                if first:
                    writer.write(first)
                    assert b"200 OK" in await reader.readuntil(b"}")
                writer.write(begun)
                with suppress(ConnectionResetError):
                    assert await reader.read() == b""
                writer.close()
            monkeypatch.undo()
            assert await asyncio.to_thread(status, f"http://{http.address}/healthz") == 200
        finally:
            await http.close()

    asyncio.run(asyncio.wait_for(main(), 60))


@pytest.mark.parametrize(
    ("token", "warned"),
    [("", "without a token"), (TOKEN, "as plain text")],
)
def test_what_others_may_see_or_hear_is_said(
    token: str, warned: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(host: str) -> list[str]:
        caplog.clear()
        http = server(HttpConfig(host=host, port=0, token=Secret(token)))
        await http.start()
        await http.close()
        return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]

    (told,) = asyncio.run(main("0.0.0.0"))
    assert warned in told
    assert TOKEN not in told
    assert asyncio.run(main("127.0.0.1")) == []
