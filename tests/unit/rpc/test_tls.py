"""Nodes with other certificates, or without any, are refused and learn why."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from mishards.core.errors import ConfigError, MishardsError, TlsRefused, Unavailable
from mishards.core.ids import Timestamp
from mishards.core.runtime import SystemRuntime
from mishards.rpc import tcp
from mishards.rpc.messages import AllocateTimestamp, Message, TimestampReply
from mishards.rpc.tcp import FramedTransport
from mishards.testing.certificates import Authority
from mishards.testing.waiting import until
from mishards.tls.cluster import ClusterTls
from mishards.tls.files import TlsFiles

ANY = "tcp://127.0.0.1:0"
ASK = AllocateTimestamp(count=4)
Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    return asyncio.run if request.param == "asyncio" else uvloop.run


@pytest.fixture
def ours(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ours")


@pytest.fixture
def theirs(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "theirs")


async def ask(
    echo: Any,
    server_tls: ClusterTls | None,
    client_tls: ClusterTls | None,
    then: Callable[[], Coroutine[Any, Any, None]] | None = None,
    *,
    blocking: bool = True,
    connect_timeout_s: float = 20.0,
) -> MishardsError | None:
    """What a call from one end to the other raises, None where it is answered; a call that blocks
    is answered, or not, likewise."""
    runtime = SystemRuntime(seed=1, threads=1)
    server = FramedTransport(runtime, tls=server_tls)
    client = FramedTransport(runtime, tls=client_tls, connect_timeout_s=connect_timeout_s)
    listener = await server.listen(ANY, echo())
    requests: list[tuple[str, Message]] = [(listener.address, ASK)]
    try:
        now = await runtime.blocking(client.ask_now, requests, 20.0) if blocking else None
        asked = client.channel(listener.address).call(ASK, timeout_s=20)
        assert now == [await asked] == [TimestampReply(timestamp=Timestamp(4))]
        return None
    except MishardsError as error:
        assert now is None
        assert listener.address in error.message
        return error
    finally:
        if then is not None:
            await then()
        await client.close()
        await listener.close()
        await runtime.close()


def test_nodes_of_one_authority_meet(run: Run, echo: Any, ours: Authority) -> None:
    async def scene() -> None:
        one, other = ClusterTls(ours.issue("one")), ClusterTls(ours.issue("other", "elsewhere"))
        assert await ask(echo, one, other) is None

    run(scene())


def test_a_node_of_another_authority_is_refused_and_the_log_says_so(
    run: Run, echo: Any, ours: Authority, theirs: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    # It takes our certificate, so that ours alone is the end that refuses.
    foreign = theirs.issue()
    trusting = ClusterTls(foreign)
    Path(foreign.ca).write_bytes(Path(foreign.ca).read_bytes() + Path(ours.ca).read_bytes())

    async def told() -> None:
        await until(lambda: "refused a connection" in caplog.text)

    async def scene() -> None:
        with caplog.at_level(logging.WARNING):
            error = await ask(echo, ClusterTls(ours.issue()), trusting, told)
        assert isinstance(error, TlsRefused), error
        assert "certificate" in error.message

    run(scene())
    assert "the peer's certificate is refused" in caplog.text


def test_a_listener_of_another_authority_is_refused(
    run: Run, echo: Any, ours: Authority, theirs: Authority
) -> None:
    async def scene() -> None:
        error = await ask(echo, ClusterTls(theirs.issue()), ClusterTls(ours.issue()))
        assert isinstance(error, TlsRefused), error
        assert "the peer's certificate is refused" in error.message

    run(scene())


def test_a_listener_without_tls_is_refused(run: Run, echo: Any, ours: Authority) -> None:
    async def scene() -> None:
        error = await ask(echo, None, ClusterTls(ours.issue()))
        assert isinstance(error, TlsRefused), error
        assert "the peer speaks no TLS" in error.message

    run(scene())


def test_a_caller_without_tls_learns_what_it_may_lack(run: Run, echo: Any, ours: Authority) -> None:
    async def scene() -> None:
        tls = ClusterTls(ours.issue())
        for patience_s in (0.1, 1.0, 10.0):  # a busy machine may not see that it is connected
            error = await ask(echo, tls, None, blocking=False, connect_timeout_s=patience_s)
            assert isinstance(error, Unavailable), error
            if "no greeting" in error.message:
                break
        assert "no greeting, maybe for it speaks TLS," in error.message

    run(scene())


def test_who_does_not_begin_tls_is_hung_up_on(
    run: Run, echo: Any, ours: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp, "HANDSHAKE_TIMEOUT_S", 0.05)

    async def scene() -> None:
        runtime = SystemRuntime(seed=1, threads=1)
        server = FramedTransport(runtime, tls=ClusterTls(ours.issue()))
        listener = await server.listen(ANY, echo())
        host, _, port = listener.address.removeprefix("tcp://").rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        assert await asyncio.wait_for(reader.read(), 20) == b""
        writer.close()
        await listener.close()
        await runtime.close()

    run(scene())


def test_changed_files_are_used_by_both_ends(
    run: Run, echo: Any, ours: Authority, theirs: Authority
) -> None:
    async def scene() -> None:
        files, fresh = ours.issue(), theirs.issue()
        server, client = ClusterTls(files), ClusterTls(files)
        replace(files, fresh)
        assert await ask(echo, server, ClusterTls(fresh)) is None
        assert await ask(echo, ClusterTls(fresh), client) is None

    run(scene())


def replace(files: TlsFiles, fresh: TlsFiles) -> None:
    for (_, old), (_, new) in zip(files.named, fresh.named, strict=True):
        Path(old).write_bytes(Path(new).read_bytes())


def test_a_certificate_of_another_authority_does_not_start(
    ours: Authority, theirs: Authority
) -> None:
    files = ours.issue()
    mixed = TlsFiles(certificate=files.certificate, key=files.key, ca=theirs.ca)
    with pytest.raises(ConfigError, match=r"ours-node\.pem' cannot be used: unable to get"):
        ClusterTls(mixed)
