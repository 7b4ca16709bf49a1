"""The log of a real cluster as it becomes durable: the truth that a recorded history is held to.

Invariants: an entry is read when it has its name, which it gets once it is whole, so that what is
trimmed later is known nevertheless; its time is that at which its bytes were written, at the
latest its moment of durability, on the clock of this machine.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from mishards.core.errors import CorruptObject
from mishards.log.entry import Entry, decode_entry
from mishards.testing.witness import Durable

_LOOK_S = 0.05


class LogWatch:
    """Reads entries of one log of a data folder as they come; a context manager.

    Attributes:
        changed: names of entries that were seen to change after they were durable.
    """

    def __init__(self, data: Path, log_id: int = 0) -> None:
        self.changed: list[str] = []
        self._folder = data / "log" / str(log_id)
        self._entries: dict[str, tuple[float, Entry]] = {}
        self._stamps: dict[str, tuple[int, int]] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log watch")

    def durable(self) -> list[Durable]:
        """All entries so far, in their order; times never fall."""
        self._look()
        with self._lock:
            entries = dict(self._entries)
        found: list[Durable] = []
        latest_s = float("inf")
        for name in sorted(entries, reverse=True):
            at_s, entry = entries[name]
            latest_s = min(latest_s, at_s)
            found.append(Durable(latest_s, entry))
        return found[::-1]

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_S):
            self._look()

    def _look(self) -> None:
        if not self._folder.is_dir():
            return
        with self._lock:
            for path in self._folder.iterdir():
                if path.name.isdecimal():
                    with suppress(FileNotFoundError):
                        self._read(path)

    def _read(self, path: Path) -> None:
        found = path.stat()
        stamp = (found.st_mtime_ns, found.st_size)
        if path.name in self._stamps:
            if self._stamps[path.name] != stamp:
                self.changed.append(path.name)
            return
        with suppress(CorruptObject):
            entry = decode_entry(path.read_bytes(), path.name)
            self._entries[path.name] = (found.st_mtime, entry)
            self._stamps[path.name] = stamp

    def __enter__(self) -> LogWatch:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
