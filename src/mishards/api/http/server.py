"""An HTTP server on the node's own loop.

Invariants: it takes no signal handlers and configures no logging, both are the process's; nothing
reaches a route past the guard; closing waits at most `_GRACE_S` for answers under way.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Sequence

import uvicorn
from starlette.applications import Starlette
from starlette.routing import BaseRoute

from mishards.api.http.config import DEFAULT_PORT, HttpConfig
from mishards.api.http.guard import Access, Guard, on_loopback
from mishards.api.http.limits import MOST_HEADER_BYTES, BodyLimit, BoundedConnection
from mishards.core.errors import ConfigError
from mishards.tls.endpoint import EndpointTls
from mishards.tls.files import TlsFiles

_log = logging.getLogger(__name__)

_BACKLOG = 128
_GRACE_S = 1
_MOST_CONNECTIONS = 512
_IDLE_S = 30
_HANDSHAKE_WITHIN_S = 10.0


class HttpServer:
    """Serves routes at one address, to those whom the guard lets pass."""

    def __init__(
        self, config: HttpConfig, routes: Sequence[BaseRoute], access: Access | None = None
    ) -> None:
        """Raises:
        ConfigError: a token, or a file of TLS, cannot be used.
        """
        self._config = config
        self._tls = _tls(config)
        application = BodyLimit(Starlette(routes=list(routes)))
        settings = uvicorn.Config(
            Guard(application, config, access or Access()),
            http="h11",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            backlog=_BACKLOG,
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_keep_alive=_IDLE_S,
            timeout_graceful_shutdown=_GRACE_S,
            h11_max_incomplete_event_size=MOST_HEADER_BYTES,
        )
        settings.load()
        self._settings = settings
        self._server = uvicorn.Server(settings)
        self._server.lifespan = settings.lifespan_class(settings)
        self._socket: socket.socket | None = None

    @property
    def address(self) -> str:
        """`host:port`; the host is the one it listens on."""
        assert self._socket is not None
        host = f"[{self._config.host}]" if ":" in self._config.host else self._config.host
        return f"{host}:{self._socket.getsockname()[1]}"

    async def start(self) -> None:
        """Listen and serve.

        Raises:
            ConfigError: the address cannot be used.
        """
        self._socket = _bound(self._config)
        # `startup` would listen without a limit to handshakes, and never look at changed files.
        listening = await asyncio.get_running_loop().create_server(
            self._connection,
            sock=self._socket,
            ssl=None if self._tls is None else self._tls.context,
            ssl_handshake_timeout=None if self._tls is None else _HANDSHAKE_WITHIN_S,
            backlog=_BACKLOG,
        )
        self._server.servers = [listening]
        self._server.started = True
        scheme = "http" if self._tls is None else "https"
        _log.info("the HTTP endpoint is at %s://%s", scheme, self.address)
        _warn(self._config)

    def _connection(self) -> BoundedConnection:
        if self._tls is not None:
            self._tls.refresh()
        return BoundedConnection(
            config=self._settings,
            server_state=self._server.server_state,
            app_state={},
            _loop=asyncio.get_running_loop(),
        )

    async def close(self) -> None:
        """End; does nothing the second time, or before a start."""
        found, self._socket = self._socket, None
        if found is not None:
            await self._server.shutdown(sockets=[found])


def _tls(config: HttpConfig) -> EndpointTls | None:
    certificate, key = config.tls_certificate, config.tls_key
    if bool(certificate) != bool(key):
        raise ConfigError(
            "TLS at the HTTP endpoint needs both http.tls_certificate and http.tls_key, not "
            f"{certificate!r} and {key!r}"
        )
    return EndpointTls(TlsFiles(certificate=certificate, key=key)) if certificate else None


def _warn(config: HttpConfig) -> None:
    """Say what others than this machine's users can see or hear."""
    if on_loopback(config.host):
        return
    if not config.token:
        _log.warning(
            "the HTTP endpoint listens on %s without a token: it answers health and metrics alone "
            "until http.token is set",
            config.host,
        )
    if (config.token or config.metrics_token) and not config.tls_certificate:
        _log.warning(
            "tokens travel to the HTTP endpoint on %s as plain text: set http.tls_certificate and "
            "http.tls_key, unless what stands before it speaks TLS",
            config.host,
        )


def _bound(config: HttpConfig) -> socket.socket:
    """A listening socket; where no port is set, of the default one or any."""
    ports = (DEFAULT_PORT, 0) if config.port is None else (config.port,)
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    for port in ports:
        try:
            return socket.create_server((config.host, port), family=family, backlog=_BACKLOG)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or port == ports[-1]:
                raise ConfigError(
                    f"cannot listen for HTTP on {config.host}:{port}: {error.strerror}"
                ) from error
    raise AssertionError("one of the ports was taken or refused")
