"""The systems that are measured, each started as its own processes and ended by pid."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pymilvus import MilvusClient

_ROOT = Path(__file__).resolve().parents[1]
_PEERS = _ROOT / ".peers"
_START_S = 120.0
_MILVUS = """
import sys, time, signal
import milvus
server = milvus.MilvusServer()
server.set_base_dir(sys.argv[1])
server.listen_port = int(sys.argv[2])
server.start()
open(sys.argv[3], "w").write(str(server.server_proc.pid))
signal.sigwait({signal.SIGTERM})
server.stop()
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def peer_python(name: str, packages: Sequence[str]) -> str:
    """The interpreter of a virtual environment of its own, made at the first use."""
    folder = _PEERS / name
    python = folder / "bin" / "python"
    if not (folder / ".ready").exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
        (folder / ".ready").touch()
    return str(python)


@contextmanager
def mishards(*options: str, url: str = "") -> Iterator[str]:
    """`mishards up` with the options; yields the URI of its Milvus API.

    Args:
        url: of the data; empty for a folder. Metadata lies in a folder either way.
    """
    with temporary_folder() as data:
        port = free_port()
        command = [sys.executable, "-m", "mishards", "up", "--data", url or str(data)]
        if url:
            command += ["--set", f"cluster.metadata=sqlite:///{data}/metadata.db"]
        with process([*command, "--port", str(port), *options]):
            yield wait_until_ready(f"http://127.0.0.1:{port}")


@contextmanager
def milvus() -> Iterator[str]:
    """Milvus 2.3.5 standalone from its own wheel."""
    wanted = ("milvus==2.3.5", "marshmallow<4", "setuptools<80", "pymilvus==2.3.8")
    python = peer_python("milvus", wanted)
    with temporary_folder() as data:
        port, pid_file = free_port(), data / "milvus.pid"
        try:
            with process([python, "-c", _MILVUS, str(data / "data"), str(port), str(pid_file)]):
                yield wait_until_ready(f"http://127.0.0.1:{port}")
        finally:
            with suppress(ProcessLookupError, FileNotFoundError):
                os.kill(int(pid_file.read_text()), signal.SIGKILL)


@contextmanager
def milvus_lite() -> Iterator[str]:
    """milvus-lite 3 as a server process of its own."""
    python = peer_python("lite", ("milvus-lite>=3.2", "pymilvus==3.0.2"))
    with temporary_folder() as data:
        port = free_port()
        script = Path(python).with_name("milvus-lite")
        command = [str(script), "server", "--host", "127.0.0.1", "--port", str(port)]
        with process([*command, "--data-dir", str(data)]):
            yield wait_until_ready(f"http://127.0.0.1:{port}")


@contextmanager
def process(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process, ended with SIGTERM, or SIGKILL when that does not help."""
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield child
        finally:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(30)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


@contextmanager
def temporary_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="mishards-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def wait_until_ready(uri: str) -> str:
    """The URI, once a client can list collections there."""

    def ready() -> bool:
        try:
            client = MilvusClient(uri, timeout=2)
            client.list_collections()
            client.close()
        except Exception:
            return False
        return True

    wait_until(ready, f"{uri} did not answer", _START_S)
    return uri


def wait_until(condition: Callable[[], bool], otherwise: str, timeout_s: float) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{otherwise} within {timeout_s:g} s")
        time.sleep(0.1)


def cluster_status(data: Path) -> dict[str, object]:
    """What `mishards status --json` says of a data folder."""
    command = [sys.executable, "-m", "mishards", "status", "--json", "--data", str(data)]
    done = subprocess.run(command, capture_output=True, check=True)
    report: dict[str, object] = json.loads(done.stdout)
    return report
