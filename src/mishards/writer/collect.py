"""Garbage collection: removes the objects of collections that no metadata names.

What is garbage decides `writer.garbage`. Why removing it is safe, whoever reigns meanwhile:

- A name is never used twice, and an object is uploaded before it is named, so an object that is
  unreferenced is either garbage or under construction by a leader. What this leader constructs it
  knows (`writer.construction`).
- Before anything is removed, a metadata commit under this leader's epoch succeeds. So at that
  moment no other leader had begun its reign, and whatever another one constructs was uploaded
  later than the look at storage that found the garbage. From then on removal may take as long as
  it likes, this leader fenced or not: what was unreferenced at that commit stays so, because only
  the leader that uploaded an object names it, within the same reign.
- That commit also ends every earlier one whose outcome is unknown: the version it expected is gone,
  so it can no longer be applied late and name what is being removed.
- Nodes only ever read newer metadata than before, and a node that joins reads the newest. So once
  all live nodes have come to a version, what it does not name is read by nobody. A node that does
  not answer holds removal back until the registry holds it for dead.
- A pin is made before its holder reads the metadata; a pin that comes after the look for pins sees
  metadata in which the garbage is unreferenced already.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec

from mishards.cluster.peers import Peers
from mishards.core.errors import MishardsError
from mishards.core.ids import LogId
from mishards.core.runtime import Runtime
from mishards.metadata.models import LogMeta
from mishards.metadata.snapshot import MetadataSnapshot
from mishards.segments.layout import SEGMENTS
from mishards.storage.pins import PinWatch
from mishards.storage.protocol import ObjectStore
from mishards.writer.catalog import Catalog
from mishards.writer.config import WriterConfig
from mishards.writer.construction import Construction
from mishards.writer.edit import Edit
from mishards.writer.garbage import Mark, judge, oldest_in_use, unreferenced
from mishards.writer.measures import WriterMeasures

_log = logging.getLogger(__name__)
_BATCH = 256
_PAUSE_PER_WORK = 10.0
"""Collections take a tenth of the time at most …"""
_LONGEST_PAUSE = 10.0
"""… unless their pause would be longer than so many usual ones: storage may just have been slow."""


class GarbageCollector:
    """Collects the garbage of one log's collections, for one reign."""

    def __init__(
        self,
        runtime: Runtime,
        config: WriterConfig,
        store: ObjectStore,
        catalog: Catalog,
        construction: Construction,
        peers: Peers,
        log_id: LogId,
        measures: WriterMeasures | None = None,
    ) -> None:
        self._measures = measures or WriterMeasures()
        self._runtime = runtime
        self._config = config
        self._store = store
        self._catalog = catalog
        self._construction = construction
        self._peers = peers
        self._log_id = log_id
        self._pins = PinWatch(store, runtime)
        self._marks: dict[str, Mark] = {}

    async def run(self) -> None:
        """Collect until cancelled."""
        while True:
            begun_s = self._runtime.monotonic_s()
            try:
                await self.collect()
            except MishardsError as error:
                _log.warning("garbage stays for now: %s", error)
            took_s = self._runtime.monotonic_s() - begun_s
            least_s = self._config.collect_interval_s
            await self._runtime.sleep(
                max(least_s, min(took_s * _PAUSE_PER_WORK, least_s * _LONGEST_PAUSE))
            )

    async def collect(self) -> int:
        """Look once; the number of objects removed.

        Raises:
            StorageError, MetadataUnavailable, Unavailable, Fenced: the rest stays for later.
        """
        await self._catalog.settle()
        await self._catalog.look()
        found = {info.key: info.size_bytes for info in await self._store.list(SEGMENTS)}
        peers = await self._peers.statuses()
        pins = await self._pins.holding()
        snapshot = self._catalog.snapshot
        oldest = oldest_in_use(peers)
        verdict = judge(
            self._unreferenced(found, snapshot),
            self._marks,
            now_s=self._runtime.monotonic_s(),
            grace_s=self._config.collect_grace_s,
            version=snapshot.version,
            oldest=snapshot.version if oldest is None else oldest,
        )
        self._marks = verdict.marks
        if not verdict.remove or pins:
            return 0
        removed = await self._remove(verdict.remove)
        self._measures.garbage.inc(len(removed))
        size_bytes = sum(found[key] for key in removed)
        _log.info("removed %d objects of %d bytes that nothing names", len(removed), size_bytes)
        return len(removed)

    async def _remove(self, keys: Sequence[str]) -> list[str]:
        await self._catalog.commit(self._reigning)
        garbage = self._unreferenced(keys, self._catalog.snapshot)
        for start in range(0, len(garbage), _BATCH):
            await self._store.delete_all(garbage[start : start + _BATCH])
        return garbage

    def _unreferenced(
        self, keys: Sequence[str] | dict[str, int], at: MetadataSnapshot
    ) -> list[str]:
        found = unreferenced(keys, at, self._log_id)
        return [key for key in found if not self._construction.covers(key)]

    def _reigning(self, snapshot: MetadataSnapshot) -> Edit:
        """Changes nothing but the version; refused to whoever reigns no longer."""
        meta = snapshot.logs.get(self._log_id, LogMeta(id=self._log_id))
        return Edit((msgspec.structs.replace(meta),))
