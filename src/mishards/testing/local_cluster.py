"""A cluster of real processes on this machine, for tests that stop, kill, freeze and starve them.

Invariants: everything that is started is ended by `close`, which then raises for whatever is left:
a process (also of a process's children), a socket, a temporary file. Waiting is always for a
condition, with a limit.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from mishards.server.config import load_config
from mishards.server.scratch import sweep
from mishards.server.status import ClusterReport, NodeReport, cluster_report

T = TypeVar("T")

PATIENCE_S = 30.0
_LOOK_S = 0.02


def wait_for(condition: Callable[[], T], what: str, patience_s: float = PATIENCE_S) -> T:
    """The first true result of `condition`, which is asked again and again.

    Raises:
        TimeoutError: it stayed false; says `what` was waited for.
    """
    end = time.monotonic() + patience_s
    while not (found := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"not within {patience_s:g} s: {what}")
        time.sleep(_LOOK_S)
    return found


_PORTS = range(20_000, 32_000)
"""Below those that systems give to outgoing connections: a killed server finds its port free."""


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    while True:
        port = random.choice(_PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


_SPARED = {"MISHARDS_HTTP_ENABLED": "false"}
"""Most tests need no HTTP endpoint, and starting one takes a twentieth of a second."""


class LocalProcess:
    """One `mishards` process; its output goes to `log`."""

    def __init__(
        self,
        name: str,
        arguments: tuple[str, ...],
        log: Path,
        temp: Path,
        *,
        module: str = "mishards",
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """`module` is what Python runs with the `arguments`, `environ` is added to its own."""
        self.name = name
        self.arguments = arguments
        self.log = log
        self._output = log.open("ab")
        self._from = log.stat().st_size
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            env=os.environ | _SPARED | {"TMPDIR": str(temp)} | dict(environ or {}),
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def output(self) -> str:
        """What this process has said so far."""
        with self.log.open("rb") as file:
            file.seek(self._from)
            return file.read().decode(errors="replace")

    def wait_ready(self, patience_s: float = PATIENCE_S) -> LocalProcess:
        """Wait until it says that it serves."""

        def ready() -> bool:
            if self.exit_code is not None:
                raise AssertionError(f"{self.name} ended with {self.exit_code}:\n{self.output()}")
            return " is ready" in self.output()

        wait_for(ready, f"{self.name} is ready", patience_s)
        return self

    def kill(self) -> None:
        """`kill -9`; returns when it is gone."""
        self._process.kill()
        self._process.wait()

    def terminate(self) -> None:
        """SIGTERM; returns at once."""
        self._process.terminate()

    def interrupt(self) -> None:
        """SIGINT, as by Ctrl-C; returns at once."""
        self._process.send_signal(signal.SIGINT)

    def stop(self, patience_s: float = PATIENCE_S) -> int:
        """SIGTERM, and the exit code."""
        self.terminate()
        return self.wait(patience_s)

    def wait(self, patience_s: float = PATIENCE_S) -> int:
        """The exit code, when it has ended."""
        return self._process.wait(patience_s)

    def freeze(self) -> None:
        """SIGSTOP: it lives, and does nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Undo `freeze`."""
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End it, gently where it can."""
        if self.exit_code is None:
            self.thaw()
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.kill()
        self._output.close()


class LocalCluster:
    """Processes that share a data folder; a context manager.

    Args:
        folder: for data, logs and temporary files of the processes.
        settings: `section.key=value`, given to every process.
        data: the data folder, where it is to lie elsewhere.
        url: of the data, where it is to lie in no folder.
    """

    def __init__(
        self, folder: Path, *settings: str, data: Path | None = None, url: str = ""
    ) -> None:
        self.folder = folder
        self.data = data or folder / "data"
        self._where = url or str(self.data)
        self.temp = folder / "tmp"
        self.temp.mkdir(parents=True)
        self.port = free_port()
        self._options: tuple[str, ...] = ("--data", self._where)
        for setting in settings:
            self._options += ("--set", setting)
        self._settings = {key: value for key, _, value in (one.partition("=") for one in settings)}
        self._processes: list[LocalProcess] = []

    @property
    def uri(self) -> str:
        """Of the proxy that `start("proxy", …)` or `up` gave this cluster's port."""
        return f"http://127.0.0.1:{self.port}"

    def start(self, command: str, *options: str, name: str = "") -> LocalProcess:
        """A `mishards` process; not waited for. A proxy listens on `port` unless told otherwise."""
        if command in ("proxy", "up") and "--port" not in options:
            options = (*options, "--port", str(self.port))
        if name and command != "up":
            options = (*options, "--id", name)
        name = name or f"{command}-{len(self._processes)}"
        process = self._make(name, (command, *self._options, *options))
        self._processes.append(process)
        return process

    def _make(self, name: str, arguments: tuple[str, ...]) -> LocalProcess:
        return LocalProcess(name, arguments, self.folder / f"{name}.log", self.temp)

    def start_all(self, readers: int = 1) -> dict[str, LocalProcess]:
        """A writer, readers and a proxy, all serving; by name: writer, reader-1, …, proxy."""
        names = ["writer", *(f"reader-{n + 1}" for n in range(readers)), "proxy"]
        found = {name: self.start(name.partition("-")[0], name=name) for name in names}
        for process in found.values():
            process.wait_ready()
        return found

    def run(self, *arguments: str, environ: dict[str, str] | None = None) -> tuple[int, str, str]:
        """A `mishards` command that ends by itself: exit code, output, error output."""
        done = subprocess.run(
            [sys.executable, "-m", "mishards", *arguments],
            capture_output=True,
            text=True,
            env=os.environ | _SPARED | {"TMPDIR": str(self.temp)} | (environ or {}),
            timeout=PATIENCE_S,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def report(self) -> ClusterReport:
        """What `mishards status` shows."""
        options = {**self._settings, "cluster.data": self._where}
        config = load_config(options=options, environ={}).config
        return asyncio.run(cluster_report(config))

    def nodes(self) -> dict[str, NodeReport]:
        """Nodes that answer, by name; none before the first of them has made the data folder."""
        if self._where == str(self.data) and not self.data.exists():
            return {}
        return {node.id: node for node in self.report().nodes if node.answers}

    def serving(self, collection: str) -> list[set[str]]:
        """Per sealed segment of a collection the nodes that have it open."""
        found = next(c for c in self.report().collections if c.name == collection)
        return [set(segment.served_by) for segment in found.segments]

    def close(self) -> None:
        """End all processes, proxies first.

        Raises:
            AssertionError: something is left.
        """
        order = sorted(self._processes, key=lambda process: process.arguments[0] != "proxy")
        for process in order:
            process.close()
        sweep(self.temp)
        left = [*_processes_with(self.temp), *(str(p) for p in self.temp.rglob("*"))]
        assert not left, f"left behind: {left}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            for process in self._processes:
                error.add_note(f"--- {process.name}:\n{process.output()[-2000:]}")
        self.close()


def _processes_with(temp: Path) -> list[str]:
    """Command lines of processes that were started by this cluster or by its processes."""

    def marked() -> list[str]:
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                environ = (folder / "environ").read_bytes().split(b"\0")
                if f"TMPDIR={temp}".encode() in environ:
                    words = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                    found.append(words.decode(errors="replace"))
        return found

    # What a killed process has started needs a moment to notice.
    with suppress(TimeoutError):
        wait_for(lambda: not marked(), "all processes have ended", patience_s=5)
    return marked()
