"""The internal protocol over TCP (`tcp://host:port`) and Unix sockets (`unix:///path`).

Invariants: an address in use by a live process is never taken over, a socket file that a dead
one left is; channels are shared per address. TLS, where a node has it, is spoken over
TCP alone: who reaches a Unix socket is the same user. A handler whose attribute `answers_inline` is
true is asked through `handle_now` first, on the loop's thread.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from mishards.core.errors import ConfigError, NobodyListens, TlsRefused, Unreachable
from mishards.core.runtime import Runtime
from mishards.observability.tracing import Hops
from mishards.rpc.address import parse_address
from mishards.rpc.blocking import BlockingCalls
from mishards.rpc.channel import FramedChannel
from mishards.rpc.dialled import DialledConnection
from mishards.rpc.handshake import Credentials
from mishards.rpc.messages import Message, Reply
from mishards.rpc.protocol import Channel, Handler, Listener
from mishards.rpc.serving import HANDSHAKE_TIMEOUT_S, Accepted, ServerConnection
from mishards.tls.cluster import ClusterTls, why

_CLOSE_GRACE_S = 1.0
_KEEPALIVE_IDLE_S = 5
_KEEPALIVE_PROBES = 3
_UNACKNOWLEDGED_MS = 10_000


class FramedTransport:
    """Listens and connects on the running loop; see `rpc.protocol.Transport`."""

    def __init__(
        self,
        runtime: Runtime,
        *,
        secret: str = "",
        cluster: str = "",
        connect_timeout_s: float = 2.0,
        idle_s: float = 30.0,
        tls: ClusterTls | None = None,
    ) -> None:
        """Bind to the running loop.

        Args:
            secret: both ends need the same; empty asks for none.
            cluster: id of this end's; an end that names another one is refused.
            idle_s: a connection on which nothing was heard for so long is made anew for the next
                call.
            tls: both ends need it; None for none.
        """
        self._runtime = runtime
        self._credentials = Credentials(secret.encode(), cluster)
        self._connect_timeout_s = connect_timeout_s
        self._channels: dict[str, FramedChannel] = {}
        self._idle_s = idle_s
        self._tls = tls
        self._blocking = BlockingCalls(self._credentials, runtime.monotonic_s, idle_s, tls)

    async def listen(self, address: str, handler: Handler) -> Listener:
        loop = asyncio.get_running_loop()
        accepted = Accepted(set(), set())

        def accept() -> ServerConnection:
            return ServerConnection(loop, self._runtime, handler, self._credentials, accepted)

        try:
            match parse_address(address):
                case Path() as path:
                    await self._runtime.timeout(self._clear(path, address), 5.0)
                    server = await loop.create_unix_server(accept, path=str(path))
                case (host, port):
                    if self._tls is None:
                        server = await loop.create_server(accept, host, port)
                    else:
                        server = await _listen_tls(accept, host, port, self._tls)
                    address = _tcp_address(host, server)
        except OSError as error:
            raise ConfigError(f"cannot listen on {address}: {error}") from error
        return FramedListener(address, server, accepted)

    def channel(self, address: str) -> Channel:
        channel = self._channels.get(address)
        if channel is None:
            parse_address(address)
            channel = FramedChannel(
                self._runtime, address, self._credentials, self._dial, self._idle_s
            )
            self._channels[address] = channel
        return channel

    def ask_now(
        self,
        requests: Sequence[tuple[str, Message]],
        timeout_s: float,
        hops: Hops | None = None,
    ) -> list[Reply] | None:
        return self._blocking.ask(requests, timeout_s, hops)

    async def close(self) -> None:
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            await channel.close()
        self._blocking.close()

    async def _dial(self, address: str, make: Callable[[], DialledConnection]) -> DialledConnection:
        """A connection whose handshake is done.

        Raises:
            NobodyListens: refused.
            TlsRefused: one end does not trust the other.
            Unreachable: names the address and the reason.
        """
        made = make()
        try:
            return await self._runtime.timeout(
                _connect(address, made, self._tls), self._connect_timeout_s
            )
        except TimeoutError:
            lack = "connection" if made.transport is None else "greeting, maybe for it speaks TLS,"
            raise Unreachable(
                f"{address}: no {lack} within {self._connect_timeout_s:g} s"
            ) from None
        except ssl.SSLError as error:
            raise TlsRefused(f"{address}: {why(error)}") from error
        except (ConnectionRefusedError, FileNotFoundError) as error:
            raise NobodyListens(f"{address}: cannot connect: {error}") from error
        except OSError as error:
            raise Unreachable(f"{address}: cannot connect: {error}") from error

    async def _clear(self, path: Path, address: str) -> None:
        """Remove the socket file of a process that is gone.

        Raises:
            ConfigError: a process answers there, or the file is no socket.
        """
        try:
            mode = (await self._runtime.blocking(path.lstat)).st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(mode):
            raise ConfigError(f"cannot listen on {address}: the file exists and is no socket")
        try:
            reader, writer = await asyncio.open_unix_connection(str(path))
        except ConnectionRefusedError:
            await self._runtime.blocking(path.unlink)
            return
        await reader.read(1)  # its greeting; who goes before it leaves a half-accepted connection
        writer.close()
        await writer.wait_closed()
        raise ConfigError(f"cannot listen on {address}: another process listens there")


class FramedListener:
    """What `FramedTransport.listen` gives; see `rpc.protocol.Listener`."""

    def __init__(self, address: str, server: asyncio.AbstractServer, accepted: Accepted) -> None:
        self.address = address
        self._server = server
        self._accepted = accepted

    async def close(self) -> None:
        self._server.close()
        connections = list(self._accepted.connections)
        await asyncio.gather(*(connection.stop(_CLOSE_GRACE_S) for connection in connections))
        await asyncio.gather(*self._accepted.ending, return_exceptions=True)
        await self._server.wait_closed()


async def _listen_tls(
    accept: Callable[[], ServerConnection], host: str, port: int, tls: ClusterTls
) -> asyncio.Server:
    def accept_with_newest_files() -> ServerConnection:
        tls.refresh()
        return accept()

    return await asyncio.get_running_loop().create_server(
        accept_with_newest_files,
        host,
        port,
        ssl=tls.server(),
        ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S,
        ssl_shutdown_timeout=_CLOSE_GRACE_S,
    )


async def _connect(
    address: str, connection: DialledConnection, tls: ClusterTls | None
) -> DialledConnection:
    loop = asyncio.get_running_loop()
    transport: asyncio.BaseTransport
    match parse_address(address):
        case Path() as path:
            await loop.create_unix_connection(lambda: connection, str(path))
        case (host, port) if tls is None:
            transport, _ = await loop.create_connection(lambda: connection, host, port)
            _notice_dead_peers(transport)
        case (host, port):
            assert tls is not None
            transport, _ = await loop.create_connection(
                lambda: connection,
                host,
                port,
                ssl=tls.client(),
                ssl_shutdown_timeout=_CLOSE_GRACE_S,
            )
            _notice_dead_peers(transport)
    try:
        await connection.ready
    except asyncio.CancelledError:
        connection.abort()
        raise
    return connection


def _notice_dead_peers(transport: asyncio.BaseTransport) -> None:
    """Let the kernel break a connection whose other end vanished without a word."""
    connected: socket.socket = transport.get_extra_info("socket")
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", _KEEPALIVE_IDLE_S),
        ("TCP_KEEPINTVL", 1),
        ("TCP_KEEPCNT", _KEEPALIVE_PROBES),
        ("TCP_USER_TIMEOUT", _UNACKNOWLEDGED_MS),
    ):
        if (option := getattr(socket, name, None)) is not None:
            connected.setsockopt(socket.IPPROTO_TCP, option, value)


def _tcp_address(host: str, server: asyncio.Server) -> str:
    port = server.sockets[0].getsockname()[1]
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"
