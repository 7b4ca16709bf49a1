"""A node's copy of the metadata, brought up to date from whatever has it.

Invariant: versions only rise, whichever stream they came from; a change that does not follow what
is known is not applied, but read from the store with all before it.
"""

from __future__ import annotations

from typing import Protocol

from mishards.core.ids import MetadataVersion
from mishards.metadata.protocol import Changes, MetadataStore
from mishards.metadata.snapshot import MetadataSnapshot


class MetadataSink(Protocol):
    """Takes metadata; from the loop's thread, without waiting."""

    def apply_changes(self, changes: Changes) -> None:
        """Metadata up to a newer version; they begin at or before the version applied last."""


class MetadataFollower:
    """Shared by all that hear of metadata on a node. From the loop's thread.

    Attributes:
        version: what was applied last.
    """

    def __init__(
        self, metadata: MetadataStore, sink: MetadataSink, version: MetadataVersion
    ) -> None:
        self.version = version
        self._metadata = metadata
        self._sink = sink

    async def take(self, changes: Changes) -> None:
        """Apply what a leader has sent, and what came between, if anything did.

        Raises:
            MetadataUnavailable: that cannot be read.
        """
        if changes.since > self.version:
            changes = await self._metadata.changes(self.version)
        self._apply(changes)

    async def poll(self) -> None:
        """Look at the store once.

        Raises:
            MetadataUnavailable.
        """
        if await self._metadata.version() > self.version:
            self._apply(await self._metadata.changes(self.version))

    async def read_all(self) -> MetadataSnapshot:
        """All that the store has; what is new of it is applied.

        Raises:
            MetadataUnavailable.
        """
        changes = await self._metadata.changes(MetadataVersion(0))
        self._apply(changes)
        return MetadataSnapshot.empty().apply(changes)

    def _apply(self, changes: Changes) -> None:
        if changes.version > self.version and changes.since <= self.version:
            self._sink.apply_changes(changes)
            self.version = changes.version
