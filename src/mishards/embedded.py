"""All roles in one process, inside a Python program.

`start` gives a complete instance behind a real port, served by a thread of its own, so it works
in a notebook, under a running event loop, and several times in one process.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from mishards.core.errors import MishardsError
from mishards.core.secret import secrets_in
from mishards.observability import logs
from mishards.server.config import Config, load_config
from mishards.server.lifecycle import running_node
from mishards.server.run import run_to_end

_log = logging.getLogger(__name__)
_ROLES = ("writer", "reader", "proxy")


class EmbeddedServer:
    """A running instance; close it, or use it as a context manager."""

    def __init__(self, config: Config, temporary: Path | None) -> None:
        self._config = config
        self._temporary = temporary
        self._started = threading.Event()
        self._error: BaseException | None = None
        self._uri = ""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._serve, name="mishards-embedded", daemon=True)

    @property
    def uri(self) -> str:
        """What a client connects to: `http://127.0.0.1:<port>`."""
        return self._uri

    @property
    def data(self) -> str:
        """Where its data lies."""
        return self._config.cluster.data

    def open(self) -> EmbeddedServer:
        """Start serving; returns when clients can connect.

        Raises:
            MishardsError: why it cannot start; nothing is left running.
        """
        self._thread.start()
        self._started.wait()
        if self._error is not None:
            self._thread.join()
            self._remove_temporary()
            raise self._error
        return self

    def close(self) -> None:
        """Finish the calls in flight and end; does nothing the second time."""
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._remove_temporary()

    def _remove_temporary(self) -> None:
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _serve(self) -> None:
        try:
            run_to_end(self._main())
        except BaseException as error:
            self._error = error
        finally:
            self._started.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        async with running_node(self._config, _ROLES) as running:
            self._uri = running.uri
            self._started.set()
            running.node.failed.add_done_callback(self._give_up)
            await self._stop.wait()

    def _give_up(self, failed: asyncio.Future[None]) -> None:
        """End a server whose node can serve no longer: no answer is better than an old one."""
        assert self._stop is not None
        if not self._stop.is_set():
            _log.critical("the embedded server ends: its node can no longer follow the log")
        self._stop.set()

    def __enter__(self) -> EmbeddedServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def start(data_dir: str | Path | None = None, *, port: int = 0, **options: Any) -> EmbeddedServer:
    """Start a complete instance in this process.

    Args:
        data_dir: folder of its data, made when missing and opened again when not; None for a
            temporary one that goes with the server.
        port: of the Milvus API; 0 takes a free one.
        options: further settings, `section__key=value`, for example `writer__flush_age_s=60`.

    Returns:
        The running server; `with mishards.start(folder) as server: …` closes it.

    Raises:
        DataInUse: another instance has the folder open.
        ConfigError: an option is unknown or not allowed.
    """
    temporary = Path(tempfile.mkdtemp(prefix="mishards-data-")) if data_dir is None else None
    chosen = {
        "cluster.data": str(temporary or data_dir),
        "proxy.port": port,
        "http.enabled": False,
        **{name.replace("__", "."): value for name, value in options.items()},
    }
    try:
        config = load_config(options=chosen, environ={}).config
    except MishardsError:
        if temporary is not None:
            temporary.rmdir()
        raise
    logs.shield(secrets_in(config))
    return EmbeddedServer(config, temporary).open()
