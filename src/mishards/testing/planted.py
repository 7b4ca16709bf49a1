"""Bugs to plant, one at a time: a simulation is worth nothing unless it finds them.

Each is what a plausible mistake would be, made at one place; `invariants` names those that have to
be reported broken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import msgspec
import numpy as np
import pytest

from mishards.cluster.publishing import LogPublisher
from mishards.core.errors import ObjectExists
from mishards.log.entry import encode_entry
from mishards.proxy import reading
from mishards.proxy.consistency import ConsistencyClock, Moment
from mishards.proxy.leader import LeaderClient
from mishards.proxy.scatter import Gathered, Scatter
from mishards.reader.collection import CollectionState
from mishards.rpc.messages import Write
from mishards.segments.deletes import DeleteMask
from mishards.segments.read import Segment
from mishards.writer import merging
from mishards.writer.commit import GroupCommit
from mishards.writer.leading import Leading
from mishards.writer.tokens import TokenWindow
from mishards.writer.trim import LogEnds, LogTrimmer


class Planted(NamedTuple):
    """A bug."""

    plant: Callable[[pytest.MonkeyPatch], None]
    invariants: frozenset[str]


# --- writers --------------------------------------------------------------------------------


def _early_acknowledgement(patch: pytest.MonkeyPatch) -> None:
    """The writer answers while the entry is still being written."""

    async def store(self: Any, entry: Any) -> bytes:
        async def later() -> None:
            await asyncio.sleep(0.005)
            await self._log.append(entry)

        asyncio.ensure_future(later()).add_done_callback(
            lambda task: task.cancelled() or task.exception()
        )
        return encode_entry(entry)

    patch.setattr(GroupCommit, "_store", store)


def _forgotten_tokens(patch: pytest.MonkeyPatch) -> None:
    """A writer does not know a retry from a new call."""
    patch.setattr(TokenWindow, "get", lambda self, token: None)


def _hasty_tick(patch: pytest.MonkeyPatch) -> None:
    """The leader says that time went on while mutations are still on their way to the log."""
    patch.setattr(GroupCommit, "is_idle", True)


def _lost_push(patch: pytest.MonkeyPatch) -> None:
    """Metadata changes are not told to followers that listen to the stream."""
    patch.setattr(LogPublisher, "publish_changes", lambda self, changes: None)


def _early_trimming(patch: pytest.MonkeyPatch) -> None:
    """Entries are trimmed before what they hold is sealed."""
    ends = Leading._log_ends

    def early(self: Any) -> LogEnds:
        found = ends(self)
        return LogEnds(replay_from=found.keep_from, keep_from=found.keep_from, last=found.last)

    patch.setattr(Leading, "_log_ends", early)


def _trimmed_fences(patch: pytest.MonkeyPatch) -> None:
    """Trimming takes the entries on which leaders of before would run aground."""
    remove = LogTrimmer._remove

    async def remove_all(self: Any, trimmed: Any) -> int:
        await self._log.remove(await self._log.held_before(trimmed))
        return await remove(self, trimmed)

    patch.setattr(LogTrimmer, "_remove", remove_all)


def _unchecked_epoch(patch: pytest.MonkeyPatch) -> None:
    """A leader whose next entry is another's takes the next number that is free, without a look at
    whose epoch it is."""

    async def store(self: Any, entry: Any) -> bytes:
        while True:
            try:
                raw: bytes = await self._log.append(entry)
            except ObjectExists:
                entry = msgspec.structs.replace(entry, seq=entry.seq + 1)
            else:
                return raw

    patch.setattr(GroupCommit, "_store", store)


def _kept_rows(patch: pytest.MonkeyPatch) -> None:
    """A compaction takes deletes for folded in whose rows it keeps."""

    def hidden(segment: Segment, keys: Any, timestamps: Any) -> Any:
        return np.zeros(segment.rows, dtype=np.bool_)

    patch.setattr(merging, "hidden_rows", hidden)


# --- proxies and readers --------------------------------------------------------------------


def _dropped_unit(patch: pytest.MonkeyPatch) -> None:
    """A proxy leaves out what a reader failed on."""

    async def retry(self: Any, causes: Any, others: Any) -> Any:
        return Gathered([], {})

    patch.setattr(Scatter, "_retry", retry)


def _stale_strong_read(patch: pytest.MonkeyPatch) -> None:
    """A proxy takes what it knows of the log for all there is."""

    async def moment(
        self: Any, log_id: Any, level: Any, guarantee_ts: Any, timeout_s: float
    ) -> Moment:
        return Moment(max(self._state.log(log_id).timestamp, guarantee_ts))

    patch.setattr(ConsistencyClock, "moment", moment)


def _new_token(patch: pytest.MonkeyPatch) -> None:
    """A proxy repeats a write under another token each time."""
    ask = LeaderClient._ask

    async def ask_anew(self: Any, node: Any, message: Any, timeout_s: float) -> Any:
        if isinstance(message, Write):
            token = self._runtime.random.randbytes(len(message.token))
            message = msgspec.structs.replace(message, token=token)
        return await ask(self, node, message, timeout_s)

    patch.setattr(LeaderClient, "_ask", ask_anew)


def _mixed_snapshots(patch: pytest.MonkeyPatch) -> None:
    """A read takes its segments from one snapshot and the checkpoint from a newer one."""
    newest: WeakKeyDictionary[Any, dict[Any, Any]] = WeakKeyDictionary()
    read_point = reading.read_point

    def mixed(view: Any, *rest: Any) -> Any:
        known = newest.setdefault(asyncio.get_running_loop(), {})
        known[view.id] = max(known.get(view.id, 0), view.meta.checkpoint)
        return msgspec.structs.replace(read_point(view, *rest), checkpoint=known[view.id])

    patch.setattr(reading, "read_point", mixed)


def _forgotten_delete(patch: pytest.MonkeyPatch) -> None:
    """A reader applies deletes to growing rows, not to open segments."""

    def delete(self: Any, delete: Any) -> None:
        self.deletes.add(delete)
        self.rows.delete(delete.keys.to_pylist(), delete.timestamp, delete.partition)

    patch.setattr(CollectionState, "_delete", delete)


def _timeless_delete(patch: pytest.MonkeyPatch) -> None:
    """A delete hides all rows of its key in a segment, those that came after it too."""

    def apply(self: Any, keys: Any, timestamps: Any) -> int:
        _, rows = self._segment.find(keys)
        hidden = np.unique(rows)
        if len(hidden):
            self._first_delete = np.where(
                np.isin(np.arange(self._segment.rows), hidden),
                0,
                np.iinfo(np.int64).max if self._first_delete is None else self._first_delete,
            )
            self._states = ()
        return len(hidden)

    patch.setattr(DeleteMask, "apply", apply)


PLANTED = {
    "early acknowledgement": Planted(_early_acknowledgement, frozenset({"I1"})),
    "forgotten tokens": Planted(_forgotten_tokens, frozenset({"I1"})),
    "hasty tick": Planted(_hasty_tick, frozenset({"I2", "I3", "I4"})),
    "lost push": Planted(_lost_push, frozenset({"I10", "I7", "healing"})),
    "early trimming": Planted(_early_trimming, frozenset({"I1", "I4"})),
    "trimmed fences": Planted(_trimmed_fences, frozenset({"I5"})),
    "unchecked epoch": Planted(_unchecked_epoch, frozenset({"I5"})),
    "kept rows": Planted(_kept_rows, frozenset({"I2", "I4"})),
    "dropped unit": Planted(_dropped_unit, frozenset({"I4"})),
    "stale strong read": Planted(_stale_strong_read, frozenset({"I2", "I3", "I4"})),
    "new token": Planted(_new_token, frozenset({"I1"})),
    "mixed snapshots": Planted(_mixed_snapshots, frozenset({"I4"})),
    "forgotten delete": Planted(_forgotten_delete, frozenset({"I2", "I4"})),
    "timeless delete": Planted(_timeless_delete, frozenset({"I4"})),
}
