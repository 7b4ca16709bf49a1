"""One server process: started, waited for, frozen, stopped by its pid, started again on its data.

Invariants: a server keeps its port and its data over restarts; after `close` neither a process
nor a file of it is left. Everything runs on the loopback.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from mishards.testing.local_cluster import free_port, wait_for

START_S = 60.0
_STOP_S = 30.0


class Server:
    """Subclass it per program: say what is needed, how to prepare data and run, and when it is up.

    Attributes:
        name: for messages.
        account: whom it runs as where the tests run as root; empty for the tests' own user.
        ports: how many ports it needs.
    """

    name = ""
    account = ""
    ports = 1

    def __init__(self) -> None:
        """Takes a folder and ports; starts nothing.

        Raises:
            FileNotFoundError: a program is missing; names it.
        """
        lack = self.missing()
        if lack:
            raise FileNotFoundError(lack)
        # Not under pytest's folder: that one is closed to the account the server runs as.
        self.folder = Path(tempfile.mkdtemp(prefix=f"mishards-{self.name.lower()}-"))
        self.port, *self.more_ports = (free_port() for _ in range(self.ports))
        self._process: subprocess.Popen[bytes] | None = None
        self._as_account: Sequence[str] = ()
        if self.account and os.geteuid() == 0:
            entry = pwd.getpwnam(self.account)
            # By another program: Python would fork to do it, and what gRPC does then in a process
            # whose threads make calls has been seen to crash the child.
            ids = (f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups")
            self._as_account = ("setpriv", *ids, "--")
            os.chown(self.folder, entry.pw_uid, entry.pw_gid)
        self._prepared = False

    @classmethod
    def missing(cls) -> str:
        """Which program is not installed, as a sentence; empty when all are."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Make the empty data folder, before the first start."""

    def command(self) -> Sequence[str]:
        """The program and its arguments."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Whether it serves."""
        raise NotImplementedError

    def created(self) -> None:
        """Called once, when it serves for the first time."""

    @property
    def pids(self) -> tuple[int, ...]:
        """Of the process and its children; of none where it has ended."""
        if self._process is None or not self.running:
            return ()
        return (self._process.pid, *_children(self._process.pid))

    @property
    def running(self) -> bool:
        """Whether the process lives, frozen or not."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start it, and wait until it answers."""
        first = not self._prepared
        if first:
            self.prepare()
            self._prepared = True
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                (*self._as_account, *self.command()),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
            )

        def up() -> bool:
            if not self.running:
                raise AssertionError(f"{self.name} ended at its start:\n{self.output()}")
            return self.answers()

        wait_for(up, f"{self.name} answers on port {self.port}", START_S)
        if first:
            self.created()
        return self

    def stop(self) -> None:
        """End it gently; its data stays."""
        if self._process is None:
            return
        self.thaw()
        self._process.send_signal(self.stop_signal)
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()

    stop_signal: signal.Signals = signal.SIGTERM

    def kill(self) -> None:
        """`kill -9`; returns when it is gone."""
        if self._process is not None:
            self._signal_all(signal.SIGKILL)
            self._process.wait(_STOP_S)

    def restart(self) -> None:
        """Stop it, and start it on the same data and port."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """SIGSTOP to it and its children: connections stand, and nothing answers."""
        self._signal_all(signal.SIGSTOP)
        if pids := self.pids:
            # Its threads stop one after another, and until then they answer.
            wait_for(lambda: all(_stands_still(pid) for pid in pids), f"{self.name} stands still")

    def thaw(self) -> None:
        """Undo `freeze`."""
        self._signal_all(signal.SIGCONT)

    def close(self) -> None:
        """Stop it, and remove its data."""
        self.stop()
        shutil.rmtree(self.folder)

    def output(self) -> str:
        """The end of what it has said; nothing before its first start."""
        if not self._log.exists():
            return ""
        return self._log.read_bytes()[-4000:].decode(errors="replace")

    def run(self, *command: str) -> None:
        """Run a program that prepares data to its end, as the server's account.

        Raises:
            AssertionError: it failed; with its output.
        """
        done = subprocess.run(
            (*self._as_account, *command),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=START_S,
        )
        assert done.returncode == 0, f"{command[0]}: {done.stderr.decode()}{done.stdout.decode()}"

    @property
    def _log(self) -> Path:
        return self.folder / "server.log"

    def _signal_all(self, number: signal.Signals) -> None:
        # It leads a session of its own; a child that made another group is found by its parent.
        for pid in self.pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _children(pid: int) -> list[int]:
    """Direct children, which is as deep as these servers go."""
    found: list[int] = []
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        found.extend(int(child) for child in tasks.read_text().split())
    return found


def _stands_still(pid: int) -> bool:
    """Whether all threads of a process are stopped, or it is gone."""
    for task in Path(f"/proc/{pid}/task").glob("*/stat"):
        try:
            state = task.read_text().rpartition(")")[2].split()[0]
        except OSError:  # gone meanwhile
            continue
        if state not in "TtZX":
            return False
    return True


def program(name: str, *folders: str) -> str | None:
    """The path of a program, looked for in `PATH`, then in folders (newest release first)."""
    if found := shutil.which(name):
        return found
    for pattern in (*folders, "/usr/sbin", "/usr/local/sbin"):
        matches = sorted(Path("/").glob(f"{pattern.lstrip('/')}/{name}"), reverse=True)
        if matches:
            return str(matches[0])
    return None


def lacking(name: str, *programs: str | None) -> str:
    """A sentence when one of the programs was not found, else nothing."""
    return "" if all(programs) else f"{name} is not installed"
