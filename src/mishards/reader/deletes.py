"""Deletes of one collection, kept for segments that are opened later.

Invariant: the log's deletes held here and the delete files of the newest metadata together are
all deletes that a segment of that metadata may need. Applying a delete twice changes nothing.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from mishards.core.ids import PartitionId, Timestamp
from mishards.metadata.models import DeleteFile

Ints = np.ndarray[Any, np.dtype[np.int64]]
DeletedKeys = tuple[pa.Array, Ints]
"""Keys, and the timestamp of each delete."""


class LoggedDelete(NamedTuple):
    """Keys deleted by one mutation, in one partition or (0) in all."""

    timestamp: Timestamp
    partition: PartitionId
    keys: pa.Array

    def concerns(self, partition: PartitionId) -> bool:
        return self.partition in (0, partition)

    def timestamps(self) -> Ints:
        return np.full(len(self.keys), self.timestamp, np.int64)


class DeleteHistory:
    """From the loop's thread, but for `lagging`."""

    def __init__(self) -> None:
        self.logged: list[LoggedDelete] = []
        """In order of their timestamps."""
        self.read: dict[str, DeletedKeys] = {}
        """Contents of delete files, by name."""
        self._lagging: dict[str, DeleteFile] = {}

    def add(self, delete: LoggedDelete) -> None:
        self.logged.append(delete)

    def since(self, timestamp: Timestamp) -> list[LoggedDelete]:
        """The log's deletes after `timestamp`."""
        newer = []
        for delete in reversed(self.logged):
            if delete.timestamp <= timestamp:
                break
            newer.append(delete)
        newer.reverse()
        return newer

    def prune(self, checkpoint: Timestamp, files: tuple[DeleteFile, ...]) -> None:
        """Let go of what delete files and compacted segments hold, and of other files."""
        self.logged = [d for d in self.logged if d.timestamp > checkpoint]
        for file in tuple(self._lagging.values()):
            if file.max_ts <= checkpoint:
                self.caught_up(file)
        named = {file.name for file in files}
        for name in self.read.keys() - named:
            del self.read[name]

    def announce(self, files: tuple[DeleteFile, ...], applied: Timestamp) -> None:
        """Metadata names new files; those that reach beyond the log as applied so far hold
        deletes that open segments do not know yet."""
        for file in files:
            if file.max_ts > applied and file.name not in self.read:
                self._lagging[file.name] = file

    def keep_to(self, files: tuple[DeleteFile, ...]) -> None:
        """Metadata names no other files: what it let go, none of the segments that it names
        needs."""
        named = {file.name for file in files}
        for name in self._lagging.keys() - named:
            del self._lagging[name]

    def lagging(self, applied: Timestamp) -> list[DeleteFile]:
        """Files to read before open segments can be searched. Any thread."""
        if not self._lagging:
            return []
        return [file for file in tuple(self._lagging.values()) if file.max_ts > applied]

    def caught_up(self, file: DeleteFile) -> None:
        """All open segments have the deletes of `file`."""
        self._lagging.pop(file.name, None)
