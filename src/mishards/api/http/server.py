"""An HTTP server on the node's own loop.

Invariants: it takes no signal handlers and configures no logging, both are the process's; closing
waits at most `_GRACE_S` for answers under way.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Sequence

import uvicorn
from starlette.applications import Starlette
from starlette.routing import BaseRoute

from mishards.api.http.config import DEFAULT_PORT, HttpConfig
from mishards.core.errors import ConfigError

_log = logging.getLogger(__name__)

_BACKLOG = 128
_GRACE_S = 1
_MOST_CONNECTIONS = 512
_IDLE_S = 30


class HttpServer:
    """Serves routes at one address."""

    def __init__(self, config: HttpConfig, routes: Sequence[BaseRoute]) -> None:
        self._config = config
        settings = uvicorn.Config(
            Starlette(routes=list(routes)),
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
        )
        settings.load()
        self._server = uvicorn.Server(settings)
        self._server.lifespan = settings.lifespan_class(settings)
        self._socket: socket.socket | None = None

    @property
    def address(self) -> str:
        """`host:port`; for clients on this machine, where the host is a wildcard."""
        assert self._socket is not None
        host = f"[{self._config.host}]" if ":" in self._config.host else self._config.host
        return f"{host}:{self._socket.getsockname()[1]}"

    async def start(self) -> None:
        """Listen and serve.

        Raises:
            ConfigError: the address cannot be used.
        """
        self._socket = _bound(self._config)
        # `serve` would take the process's signals; its two halves do not.
        await self._server.startup(sockets=[self._socket])
        _log.info("the HTTP endpoint is at http://%s", self.address)

    async def close(self) -> None:
        """End; does nothing the second time, or before a start."""
        found, self._socket = self._socket, None
        if found is not None:
            await self._server.shutdown(sockets=[found])


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
