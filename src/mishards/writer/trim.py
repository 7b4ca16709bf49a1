"""Trimming of the log: entries that nobody needs any more are removed from its beginning.

What may go decides `trim_point`; the metadata says it first, then it goes, oldest first. Why that
is safe, whoever reigns or reads meanwhile:

- All that an entry before `LogMeta.replay_from` held is in sealed segments, in files of deletes, or
  dropped, and the tokens of its mutations are older than the window in which retries are known.
  Nothing before `LogMeta.trimmed`, which is never beyond it, is needed by who reads newer metadata.
- Whoever is behind all the same finds an entry missing though later ones exist, for the last entry
  always stays, and begins again from newer metadata. Nodes that answer are waited for, so that
  this is rare.
- A new leader compares the newest metadata of its predecessors with where it stopped reading before
  it adds to the log. From the beginning of its epoch on no older leader can commit, so none can
  move `trimmed`; the entry by which a newer one begins is a fence.
- Fences are left standing: a leader that slept through takeovers finds its next place taken.
- Pins are looked for after the commit; who pins later reads metadata that names no such entry.
- A crash leaves entries behind that the metadata says are gone: a reign begins with looking for
  them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

import msgspec

from mishards.cluster.peers import Peers, PeerStatus
from mishards.core.errors import MishardsError
from mishards.core.ids import EntrySeq, LogId
from mishards.core.runtime import Runtime
from mishards.log.store import LogStore
from mishards.metadata.models import LogMeta
from mishards.metadata.snapshot import MetadataSnapshot
from mishards.storage.pins import PinWatch
from mishards.writer.catalog import Catalog
from mishards.writer.config import WriterConfig
from mishards.writer.edit import NOTHING, Edit
from mishards.writer.measures import WriterMeasures

_log = logging.getLogger(__name__)
_BATCH = 256
_ROUNDS_PER_KEPT = 16
"""Entries are trimmed when there are a sixteenth as many to trim as are kept."""


class LogEnds(msgspec.Struct, frozen=True, kw_only=True):
    """Where parts of the log begin, as its leader knows.

    Attributes:
        replay_from: what a start has to read: growing mutations, tokens to be remembered.
        keep_from: what is kept in any case.
        last: the newest durable entry.
    """

    replay_from: EntrySeq
    keep_from: EntrySeq
    last: EntrySeq


def trim_point(ends: LogEnds, applied: Iterable[EntrySeq]) -> EntrySeq:
    """The first entry to stay.

    Args:
        applied: the entry that each node that follows the log applied last.
    """
    following = (EntrySeq(seq + 1) for seq in applied)
    return min(ends.replay_from, ends.keep_from, ends.last, *following)


def positions(peers: Sequence[PeerStatus], log_id: LogId) -> list[EntrySeq]:
    """The last entry that each reader applied; one that does not say it may need all."""
    found = []
    for node, status in peers:
        if "reader" in node.roles:
            seq = None if status is None else status.applied_seq.get(log_id)
            found.append(EntrySeq(0) if seq is None else seq)
    return found


class LogTrimmer:
    """Trims one log, for one reign. From the loop's thread."""

    def __init__(
        self,
        runtime: Runtime,
        config: WriterConfig,
        log: LogStore,
        catalog: Catalog,
        peers: Peers,
        pins: PinWatch,
        log_id: LogId,
        ends: Callable[[], LogEnds],
        measures: WriterMeasures | None = None,
    ) -> None:
        self._measures = measures or WriterMeasures()
        self._runtime = runtime
        self._config = config
        self._log = log
        self._catalog = catalog
        self._peers = peers
        self._pins = pins
        self._log_id = log_id
        self._ends = ends
        self._least = max(1, config.log_keep_entries // _ROUNDS_PER_KEPT)
        self._removed_to: EntrySeq | None = None

    async def run(self) -> None:
        """Trim until cancelled."""
        while True:
            try:
                await self.trim()
            except MishardsError as error:
                _log.warning("log %d is not trimmed for now: %s", self._log_id, error)
            await self._runtime.sleep(self._config.collect_interval_s)

    async def trim(self) -> int:
        """Look once; the number of entries removed.

        Raises:
            StorageError, MetadataUnavailable, Unavailable, Fenced: the rest stays for later.
        """
        await self._catalog.settle()
        applied = positions(await self._peers.statuses(), self._log_id)
        # What follows the log may not have applied what was trimmed by an earlier look either.
        await self._announce(applied)
        trimmed = self._meta(self._catalog.snapshot).trimmed
        if any(seq < trimmed - 1 for seq in applied) or await self._pins.holding():
            return 0
        return await self._remove(trimmed)

    async def _announce(self, applied: Sequence[EntrySeq]) -> None:
        """Say in the metadata what is to go, where it is worth it."""

        def change(snapshot: MetadataSnapshot) -> Edit:
            meta = self._meta(snapshot)
            ends = self._ends()
            point = trim_point(ends, applied)
            if point - meta.trimmed < self._least:
                return NOTHING
            replay_from = max(meta.replay_from, ends.replay_from)
            return Edit((msgspec.structs.replace(meta, replay_from=replay_from, trimmed=point),))

        await self._catalog.commit(change)

    async def _remove(self, trimmed: EntrySeq) -> int:
        """Remove what metadata says is gone."""
        if self._removed_to is None:
            found = await self._log.held_before(trimmed)
        else:
            found = [EntrySeq(seq) for seq in range(self._removed_to, trimmed)]
        fences = set(self._meta(self._catalog.snapshot).fences)
        gone = [seq for seq in found if seq not in fences]
        for start in range(0, len(gone), _BATCH):
            await self._log.remove(gone[start : start + _BATCH])
        self._removed_to = trimmed
        self._measures.trimmed.inc(len(gone))
        if gone:
            _log.info("log %d is trimmed: %d entries before %d", self._log_id, len(gone), trimmed)
        return len(gone)

    def _meta(self, snapshot: MetadataSnapshot) -> LogMeta:
        return snapshot.logs.get(self._log_id, LogMeta(id=self._log_id))
