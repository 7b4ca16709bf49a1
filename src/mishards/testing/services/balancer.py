"""Nginx and HAProxy before proxies, for tests; each runs a file that it is given.

Invariant: a balancer listens where `listen` says, over restarts too.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from mishards.testing.services.server import Server, lacking, program


class Balancer(Server):
    """See `Server`; `configure` it before it starts."""

    ports = 2

    @property
    def listen(self) -> str:
        """Where clients of the Milvus API connect: `host:port`."""
        return f"127.0.0.1:{self.port}"

    @property
    def http_listen(self) -> str:
        """The same of the HTTP endpoints."""
        return f"127.0.0.1:{self.more_ports[0]}"

    def configure(self, text: str) -> None:
        """Use this file from the next start or reload on."""
        self.file.write_text(text)
        self.folder.chmod(0o711)  # where root starts nginx, its workers are another user's

    def refusal(self) -> str:
        """What the program itself has against its file; empty where that is nothing."""
        done = subprocess.run(
            self.check(),
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        return f"{done.stdout}{done.stderr}" if done.returncode else ""

    def check(self) -> Sequence[str]:
        """The command that checks the file."""
        raise NotImplementedError

    def answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
        except OSError:
            return False
        return True

    @property
    def file(self) -> Path:
        """What it runs by."""
        return self.folder / "balancer.conf"


class Nginx(Balancer):
    """See `Balancer`; its file has to keep pid and temporary files in `folder`."""

    name = "nginx"

    @classmethod
    def missing(cls) -> str:
        return lacking(cls.name, program("nginx"))

    def command(self) -> Sequence[str]:
        return (str(program("nginx")), *self._options, "-g", "daemon off;")

    def check(self) -> Sequence[str]:
        return (str(program("nginx")), *self._options, "-t")

    @property
    def reload(self) -> Sequence[str]:
        """The command that has it use its file as it is now."""
        return (*self.command()[:1], *self._options, "-s", "reload")

    @property
    def _options(self) -> Sequence[str]:
        return ("-c", str(self.file), "-e", "stderr")


class HaProxy(Balancer):
    """See `Balancer`."""

    name = "HAProxy"

    @classmethod
    def missing(cls) -> str:
        return lacking(cls.name, program("haproxy"))

    def command(self) -> Sequence[str]:
        return (str(program("haproxy")), "-db", "-f", str(self.file))

    def check(self) -> Sequence[str]:
        return (str(program("haproxy")), "-c", "-f", str(self.file))
