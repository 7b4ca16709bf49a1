from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mishards.core.errors import ConfigError, DataInUse
from mishards.storage.lock import DataLock

_HOLD = """
import sys
from pathlib import Path
from mishards.storage.lock import DataLock
with DataLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_holder_is_told_of_the_first(tmp_path: Path) -> None:
    with DataLock(tmp_path / "data"), pytest.raises(DataInUse) as caught:
        DataLock(tmp_path / "data").acquire()
    assert str(tmp_path / "data") in caught.value.message
    assert f"process {os.getpid()} " in caught.value.message


def test_other_folders_are_free(tmp_path: Path) -> None:
    with DataLock(tmp_path / "a"), DataLock(tmp_path / "b"):
        pass


def test_released_and_taken_again(tmp_path: Path) -> None:
    lock = DataLock(tmp_path)
    with lock:
        with pytest.raises(DataInUse):
            lock.acquire()
        with pytest.raises(DataInUse):
            DataLock(tmp_path).acquire()
    lock.release()
    with DataLock(tmp_path), pytest.raises(DataInUse):
        lock.acquire()
    with lock:
        pass


def test_the_lock_ends_with_its_process(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            with pytest.raises(DataInUse, match=f"process {holder.pid} "):
                DataLock(tmp_path).acquire()
        finally:
            holder.send_signal(signal.SIGKILL)
    with DataLock(tmp_path):
        pass


def test_a_folder_that_cannot_be_locked_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match="file"):
        DataLock(tmp_path / "file").acquire()
