"""A console of a cluster that is made up, served on a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType
from typing import Any, Self

from mishards.api.http.config import HttpConfig
from mishards.api.http.console.routes import Console
from mishards.api.http.server import HttpServer
from mishards.core.runtime import SystemRuntime
from mishards.core.secret import Secret
from mishards.metadata.snapshot import MetadataSnapshot
from mishards.observability.slow import SlowTraces
from mishards.observability.spans import Trace
from mishards.proxy.cluster_state import ClusterState
from mishards.testing.console_states import MadeLook


class _MadeProxy:
    """As much of a proxy as pages that only show need."""

    def __init__(self, look: MadeLook) -> None:
        self.look = look

    @property
    def snapshot(self) -> MetadataSnapshot:
        return self.look.now.snapshot


class MadeConsole:
    """A context manager; `look.now` may be replaced while it serves."""

    def __init__(self, state: ClusterState, *traces: Trace, token: str = "") -> None:
        self.look = MadeLook(state)
        self.address = ""
        self._traces = traces
        self._token = Secret(token)
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._serve, name="made-console", daemon=True)

    def _serve(self) -> None:
        self._loop.run_until_complete(self._main())
        self._loop.close()

    async def _main(self) -> None:
        runtime = SystemRuntime(threads=2)
        console = Console(runtime, self._token)
        proxy: Any = _MadeProxy(self.look)
        console.proxy = proxy
        console.slow = SlowTraces(len(self._traces))
        for trace in self._traces:
            console.slow.take(trace, "slow")
        config = HttpConfig(port=0, token=self._token)
        server = HttpServer(config, console.routes(), console.access)
        await server.start()
        self.address = f"http://{server.address}"
        self._ready.set()
        await self._stop.wait()
        await server.close()
        await runtime.close()

    def close(self) -> None:
        """End serving."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
