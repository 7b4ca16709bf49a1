"""A Kubernetes API server of the test kit, on the loopback, in a thread of this process.

It stands for a real one where none can be had, and is one to providers as far as
`mishards.testing.kubernetes` says. Invariant: objects and port outlast `stop` and `kill`.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self, TypeVar

from aiohttp import web

from mishards.testing.kubernetes.objects import Objects
from mishards.testing.kubernetes.requests import Answerer
from mishards.testing.local_cluster import free_port

T = TypeVar("T")

_STEP_S = 30.0


class KubernetesServer:
    """An `Outage`, and more that tests do to a server."""

    def __init__(self, folder: Path, tls: ssl.SSLContext | None = None) -> None:
        """A server that has not started; `folder` takes its kubeconfig."""
        self.port = free_port()
        self._tls = tls
        self._folder = folder
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="kubernetes")
        self._thread.start()
        self._runner: web.AppRunner | None = None
        self._answerer = Answerer(Objects())

    @property
    def kubeconfig(self) -> Path:
        """A file that says how it is reached."""
        file = self._folder / f"kubeconfig-{self.port}"
        if file.exists():
            return file
        scheme = "http" if self._tls is None else "https"
        # Any authority will do without TLS; without one a client reads all of the system's.
        (authority, *_) = ssl.create_default_context().get_ca_certs(binary_form=True)
        (self._folder / "ca.pem").write_text(ssl.DER_cert_to_PEM_cert(authority))
        file.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "test",
                    "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
                    "clusters": [
                        {
                            "name": "test",
                            "cluster": {
                                "server": f"{scheme}://127.0.0.1:{self.port}",
                                "certificate-authority": "ca.pem",
                            },
                        }
                    ],
                    "users": [{"name": "test", "user": {}}],
                }
            ),
            encoding="utf-8",
        )
        return file

    def start(self) -> Self:
        """Serve, on the same port and objects as before."""

        async def serve() -> None:
            self._runner = web.AppRunner(
                self._answerer.application(), shutdown_timeout=0.05, handler_cancellation=True
            )
            await self._runner.setup()
            await web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self._tls).start()

        asyncio.run_coroutine_threadsafe(serve(), self._loop).result(_STEP_S)
        return self

    def stop(self) -> None:
        """Cut all connections and take no more."""

        async def end() -> None:
            if self._runner is not None:
                await self._runner.cleanup()
                self._runner = None

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(_STEP_S)

    def kill(self) -> None:
        """As `stop`: what it keeps was never in the connections."""
        self.stop()

    def freeze(self) -> None:
        """Take requests and answer nothing; watches stay silent."""
        self.turn(lambda answerer: answerer.running.clear())

    def thaw(self) -> None:
        """Undo `freeze`."""
        self.turn(lambda answerer: answerer.running.set())

    def turn(self, work: Callable[[Answerer], T]) -> T:
        """Do something to what answers, on its thread; what came of it."""

        async def run() -> T:
            return work(self._answerer)

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(_STEP_S)

    def close(self) -> None:
        """End it for good."""
        self.thaw()
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_STEP_S)
        self._loop.close()
