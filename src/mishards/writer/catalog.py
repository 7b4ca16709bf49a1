"""The writer's copy of the metadata, and the only path by which it changes.

Invariants: one commit at a time; each is decided on the newest snapshot, fenced by the epoch, and
published after it is durable. A commit whose outcome is unknown is looked up before the next one,
so the copy never falls behind what this leader has stored. What leaders of other logs commit is
learned by looking, and by the conflict of a commit that was decided without it. While the store is
away one call at a time finds that out, and nobody waits for more than one of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from mishards.cluster.publishing import LogPublisher
from mishards.core.errors import Fenced, MetadataConflict, MetadataUnavailable, MishardsError
from mishards.core.ids import Epoch, LogId, MetadataVersion
from mishards.metadata.models import encode
from mishards.metadata.protocol import Changes, MetadataStore
from mishards.metadata.snapshot import MetadataSnapshot
from mishards.writer.edit import Change, Edit

_MOST_ATTEMPTS = 8


class Catalog:
    """Commits changes of metadata as the leader of a log."""

    def __init__(
        self,
        metadata: MetadataStore,
        publisher: LogPublisher,
        log_id: LogId,
        epoch: Epoch,
        snapshot: MetadataSnapshot,
        on_change: Callable[[MetadataSnapshot], None],
        on_fenced: Callable[[MishardsError], None],
    ) -> None:
        self.snapshot = snapshot
        self._metadata = metadata
        self._publisher = publisher
        self._log_id = log_id
        self._epoch = epoch
        self._on_change = on_change
        self._on_fenced = on_fenced
        self._lock = asyncio.Lock()
        self._unsure = False
        self._away: MetadataUnavailable | None = None

    async def commit(self, change: Change) -> MetadataVersion:
        """Apply what `change` decides on the newest snapshot; the version that holds it.

        Cancelled or failed, it may still have been applied, all or nothing.

        Raises:
            MetadataUnavailable: retriable.
            Fenced: another leader reigns.
            MishardsError: what `change` raised; nothing was committed.
        """
        async with self._turn():
            for _ in range(_MOST_ATTEMPTS):
                if self._unsure:
                    await self._refresh()
                edit = change(self.snapshot)
                if edit.is_empty:
                    return self.snapshot.version
                if await self._apply(edit):
                    return self.snapshot.version
            raise MetadataConflict(
                f"metadata changed {_MOST_ATTEMPTS} times while a change of version "
                f"{self.snapshot.version} was committed"
            )

    async def reach(self, version: MetadataVersion) -> None:
        """Be at least as new as `version`, which another leader may have committed.

        Raises:
            MetadataUnavailable, Fenced.
        """
        if self.snapshot.version < version:
            async with self._turn():
                if self.snapshot.version < version:
                    await self._refresh()

    async def look(self) -> None:
        """Learn of what the leaders of other logs have committed.

        Raises:
            MetadataUnavailable, Fenced.
        """
        await self.reach(await self._metadata.version())

    async def settle(self) -> None:
        """Look up a commit whose outcome is unknown, where there is one."""
        if self._unsure:
            async with self._turn():
                await self._refresh()

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """The store for one call alone.

        Raises:
            MetadataUnavailable: it was away when it was tried last, and is being tried again; or
                whoever was before this call has found it away.
        """
        before = self._away
        if before is not None and self._lock.locked():
            raise MetadataUnavailable(before.message)
        async with self._lock:
            if self._away is not None and self._away is not before:
                raise MetadataUnavailable(self._away.message)
            try:
                yield
            except MetadataUnavailable as error:
                self._away = error
                raise
            self._away = None

    async def _apply(self, edit: Edit) -> bool:
        """Commit; False when the snapshot it was decided on turned out to be old."""
        self._unsure = True
        try:
            changes = await self._metadata.commit(
                self._log_id,
                self._epoch,
                self.snapshot.version,
                {record.key: encode(record) for record in edit.puts},
                edit.deletes,
            )
        except MetadataConflict as conflict:
            reigning = await self._metadata.epoch(self._log_id)
            if reigning != self._epoch:
                raise self._fence(
                    f"epoch {reigning} reigns over log {self._log_id}, not {self._epoch}: "
                    f"{conflict.message}"
                ) from conflict
            return False
        self._take(changes)
        self._unsure = False
        return True

    async def _refresh(self) -> None:
        changes = await self._metadata.changes(self.snapshot.version)
        if changes.version < self.snapshot.version:
            raise self._fence(
                f"the metadata store went back from version {self.snapshot.version} "
                f"to {changes.version}"
            )
        if changes.version > self.snapshot.version:
            self._take(changes)
        self._unsure = False

    def _take(self, changes: Changes) -> None:
        self.snapshot = self.snapshot.apply(changes)
        self._on_change(self.snapshot)
        self._publisher.publish_changes(changes)

    def _fence(self, message: str) -> Fenced:
        error = Fenced(message)
        self._on_fenced(error)
        return error
