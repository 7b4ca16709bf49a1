"""Reads metadata from etcd: the version, changes since one, all records.

Invariants: all parts of a read are of one revision of etcd; where records are pending, the pending
change is laid over what is there of them.
"""

from __future__ import annotations

from contextlib import suppress
from itertools import groupby

import msgspec

from mishards.core.errors import MetadataUnavailable
from mishards.core.ids import Epoch, LogId, MetadataVersion
from mishards.metadata.etcd_changes import ChangeLog
from mishards.metadata.etcd_keys import EtcdKeys
from mishards.metadata.protocol import Changes
from mishards.storage.etcd_client import EtcdClient
from mishards.storage.etcd_errors import Compacted
from mishards.storage.etcd_requests import Answer, Found, read

_MOST_ATTEMPTS = 5


class State(msgspec.Struct, frozen=True):
    """The store as one look found it.

    Attributes:
        version: of the newest commit.
        pruned: changes up to it are forgotten; put last at `pruned_revision`.
        pending: the version whose records are being copied; 0 for none.
        revision: of etcd at that moment.
    """

    version: MetadataVersion
    pruned: MetadataVersion
    pruned_revision: int
    pending: MetadataVersion
    revision: int


class EtcdReads:
    """Reads one data set. Blocking; any thread may call."""

    def __init__(self, name: str, client: EtcdClient, keys: EtcdKeys, changes: ChangeLog) -> None:
        """`name` is for messages."""
        self._name = name
        self._client = client
        self._keys = keys
        self._log = changes

    def version(self) -> MetadataVersion:
        return self._version(self._client.read(read(self._keys.version)))

    def epoch(self, log_id: LogId) -> tuple[Epoch, int]:
        """The newest epoch, 0 for none, and etcd's revision when it was put."""
        answer = self._client.read(read(self._keys.version), read(self._keys.epoch(log_id)))
        self._version(answer)
        epoch, revision = _number(answer.ranges[1])
        return Epoch(epoch), revision

    def look(self) -> State:
        """The state of this moment.

        Raises:
            MetadataUnavailable: nobody opened the store yet.
        """
        keys = self._keys
        answer = self._client.read(read(keys.version), read(keys.pruned), read(keys.pending))
        pruned, pruned_revision = _number(answer.ranges[1])
        pending, _ = _number(answer.ranges[2])
        return State(
            version=self._version(answer),
            pruned=MetadataVersion(pruned),
            pruned_revision=pruned_revision,
            pending=MetadataVersion(pending),
            revision=answer.revision,
        )

    def changes(self, since: MetadataVersion) -> Changes:
        """See `MetadataStore.changes`."""
        for _ in range(_MOST_ATTEMPTS):
            with suppress(Compacted):  # by somebody, while the pages were read
                return self._changes(self.look(), since)
        raise MetadataUnavailable(f"{self._name} was compacted during each attempt to read it")

    def record_keys(self, revision: int) -> set[str]:
        """The keys of all records, of which none may be pending."""
        found = self._client.scan(*self._keys.records, revision=revision, keys_only=True)
        return {self._keys.record_of(part.key) for part in found}

    def _changes(self, state: State, since: MetadataVersion) -> Changes:
        if since < state.pruned:
            since = MetadataVersion(0)
        bodies: dict[str, bytes | None] = {}
        first = MetadataVersion(since + 1)
        if not since:
            bodies.update(self._records(state.revision))
            first = state.pending or MetadataVersion(state.version + 1)
        if first <= state.version:
            for change in self._log.read(first, state.version, revision=state.revision):
                bodies.update(change.bodies)
        return Changes(
            since,
            state.version,
            tuple((key, body) for key, body in bodies.items() if body is not None),
            tuple(key for key, body in bodies.items() if body is None) if since else (),
        )

    def _records(self, revision: int) -> dict[str, bytes]:
        found = self._client.scan(*self._keys.records, revision=revision)
        return {
            key: b"".join(part.value for part in parts)
            for key, parts in groupby(found, lambda part: self._keys.record_of(part.key))
        }

    def _version(self, answer: Answer) -> MetadataVersion:
        if not answer.ranges[0]:
            raise MetadataUnavailable(f"the metadata in {self._name} was not opened")
        return MetadataVersion(_number(answer.ranges[0])[0])


def _number(found: tuple[Found, ...]) -> tuple[int, int]:
    """A value of digits and the revision when it was put; both 0 where there is none."""
    return (int(found[0].value), found[0].revision) if found else (0, 0)
