"""Keeps two instances out of one data folder.

Invariant: the lock is the kernel's, held by an open file; it ends with the process, however that
dies, and nothing has to be cleaned up. It guards against a user's mistake, not for correctness:
the fence of the log is what keeps two leaders apart.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from pathlib import Path
from types import TracebackType

from mishards.core.errors import ConfigError, DataInUse

_NAME = ".lock"


class DataLock:
    """The lock of a data folder; a context manager. Blocks for no longer than a few file calls."""

    def __init__(self, folder: Path, *, shared: bool = False) -> None:
        """`shared`: others that share it may hold it too, as the writers of one cluster do."""
        self.folder = folder
        self._kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock; the folder is created when it is missing.

        Raises:
            DataInUse: another holder has it; names the folder and the holder's process id.
            ConfigError: the folder cannot be written to.
        """
        if self._descriptor is not None:
            raise DataInUse(f"data folder {str(self.folder)!r} is already locked by this object")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.folder / _NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise ConfigError(f"cannot lock data folder {str(self.folder)!r}: {error}") from error
        try:
            fcntl.flock(descriptor, self._kind | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()} {socket.gethostname()}\n".encode())
        except OSError as error:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace").split()
            os.close(descriptor)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise ConfigError(
                    f"cannot lock data folder {str(self.folder)!r}: {error}"
                ) from error
            shown = f"process {holder[0]} on {holder[1]}" if len(holder) == 2 else "another process"
            raise DataInUse(
                f"data folder {str(self.folder)!r} is in use by {shown}; "
                "stop it or choose another folder"
            ) from error
        self._descriptor = descriptor

    def release(self) -> None:
        """Let go of the lock; does nothing when it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> DataLock:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()
