"""What is made of certificate files, made anew when they change.

Invariants: files that cannot be used never take the place of those that could; each such change is
told once. Looking costs one `stat` per file, so whoever takes a new connection can afford it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from mishards.core.errors import ConfigError
from mishards.tls.files import TlsFiles

_log = logging.getLogger(__name__)
T = TypeVar("T")


class Watched(Generic[T]):
    """The newest usable state of the files, as `load` makes it. Thread-safe.

    Attributes:
        current: what was made last.
    """

    def __init__(self, files: TlsFiles, load: Callable[[TlsFiles], T]) -> None:
        """Load for the first time.

        Raises:
            ConfigError: what `load` raises.
        """
        self._files = files
        self._load = load
        self._lock = threading.Lock()
        self._stamp = files.stamp()
        self.current = load(files)

    def renewed(self) -> T | None:
        """What was made of the files if they changed since the last look and can be used."""
        with self._lock:
            stamp = self._files.stamp()
            if stamp == self._stamp:
                return None
            self._stamp = stamp
            try:
                self.current = self._load(self._files)
            except (ConfigError, OSError) as error:
                _log.warning("TLS goes on with the files of before: %s", error)
                return None
            _log.info("TLS uses the changed files from now on: %s", self._files.certificate)
            return self.current
