"""What the system asks of a metadata store: versioned records and one fenced transaction.

The leader of a log is the only one that commits; everyone reads. Rules such as unique names are
the leader's, checked on its snapshot before it commits; the store checks epoch and version.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from mishards.core.ids import Epoch, LogId, MetadataVersion


class Changes(msgspec.Struct, frozen=True, array_like=True):
    """Records put and keys deleted between two versions; applied to a snapshot in one step.

    `since` is the version they start from: 0 means all records.
    """

    since: MetadataVersion
    version: MetadataVersion
    puts: tuple[tuple[str, bytes], ...] = ()
    deletes: tuple[str, ...] = ()


class MetadataStore(Protocol):
    """Durable records under one version number. All coroutines: from the loop's thread.

    Every method raises `MetadataUnavailable` (retriable) when the store cannot be reached.
    """

    async def open(self, cluster_id: str) -> str:
        """Create what is missing, and give the cluster id the store belongs to.

        The first to open an empty store gives it its id; an empty `cluster_id` accepts any.

        Raises:
            DataInUse: the store belongs to another cluster id.
        """

    async def version(self) -> MetadataVersion:
        """The newest version; 0 when nothing was committed."""

    async def changes(self, since: MetadataVersion) -> Changes:
        """All changes after `since`, in one consistent read; all records when `since` is 0.

        Where deleted keys after `since` were pruned, the answer is that for 0, and says so in its
        own `since`.
        """

    async def begin_epoch(self, log_id: LogId, epoch: Epoch) -> None:
        """Record that `epoch` reigns over the log; later commits of lower epochs are refused.

        Raises:
            MetadataConflict: an equal or higher epoch is recorded.
        """

    async def epoch(self, log_id: LogId) -> Epoch:
        """The newest epoch recorded for the log; 0 when none."""

    async def commit(
        self,
        log_id: LogId,
        epoch: Epoch,
        expected: MetadataVersion,
        puts: dict[str, bytes],
        deletes: tuple[str, ...] = (),
    ) -> Changes:
        """Apply all or nothing, raising the version by one.

        Raises:
            MetadataConflict: the log's epoch is not `epoch`, or the version is not `expected`.
        """

    async def restore(self, changes: Changes, epochs: Mapping[LogId, Epoch]) -> None:
        """Replace all records by those of `changes` (`since` 0), at its version: for repairs,
        while nothing leads; no epoch is checked. All or nothing.

        Records that go are told as deleted by later `changes`. An epoch never falls: each log
        gets the higher one of those recorded and given.

        Raises:
            MetadataConflict: the store is at that version, or beyond it.
        """

    async def prune(self, before: MetadataVersion) -> None:
        """Forget which keys were deleted by the versions up to `before`; idempotent.

        Anyone may call it. Records, the version and epochs stay as they are.
        """

    async def close(self) -> None:
        """Let go of connections and threads."""
