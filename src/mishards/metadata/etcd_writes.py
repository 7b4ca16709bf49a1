"""Changes metadata in etcd: commits, epochs, restores, pruning.

A commit is one transaction that compares version and epoch and raises the version. Where the
records fit, it puts them too. A larger one names what was staged before (`etcd_changes`) and says
that its records are pending; they are then copied in steps that anyone can repeat. Invariants:

- nothing commits while records are pending: who finds that copies them first;
- a step of copying counts only while its version is the pending one;
- the changes of the last `HISTORY` versions are kept, unless they are pruned.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress

from mishards.core.errors import MetadataConflict, MetadataUnavailable, Unavailable
from mishards.core.ids import Epoch, LogId, MetadataVersion
from mishards.metadata.etcd_changes import (
    LARGEST_OPERATIONS,
    Change,
    ChangeLog,
    record_operations,
)
from mishards.metadata.etcd_keys import PART_BYTES, EtcdKeys
from mishards.metadata.etcd_reads import EtcdReads
from mishards.metadata.protocol import Changes
from mishards.storage.etcd_client import EtcdClient
from mishards.storage.etcd_errors import Compacted
from mishards.storage.etcd_requests import Part, delete, put, unchanged, value_is

HISTORY = 1000
TRIM_EVERY = 100
_MOST_ATTEMPTS = 20
_NONE = MetadataVersion(0)

_log = logging.getLogger(__name__)


class EtcdWrites:
    """Changes one data set. Blocking; any thread may call."""

    def __init__(
        self, client: EtcdClient, keys: EtcdKeys, changes: ChangeLog, reads: EtcdReads
    ) -> None:
        self._client = client
        self._keys = keys
        self._changes = changes
        self._reads = reads

    def begin_epoch(self, log_id: LogId, epoch: Epoch) -> None:
        """See `MetadataStore.begin_epoch`."""
        key = self._keys.epoch(log_id)
        for _ in range(_MOST_ATTEMPTS):
            newest, revision = self._reads.epoch(log_id)
            if epoch <= newest:
                raise MetadataConflict(f"epoch {epoch} of log {log_id} is not after epoch {newest}")
            if self._client.write([unchanged(key, revision)], [put(key, b"%d" % epoch)]).succeeded:
                return
        raise _contended()

    def commit(
        self, log_id: LogId, epoch: Epoch, expected: MetadataVersion, change: Change
    ) -> Changes:
        """See `MetadataStore.commit`."""
        key = self._keys.epoch(log_id)
        fence = value_is(key, b"%d" % epoch) if epoch else unchanged(key, 0)

        def check() -> None:
            newest, _ = self._reads.epoch(log_id)
            if epoch != newest:
                raise MetadataConflict(f"epoch {epoch} of log {log_id} is over: {newest} reigns")
            self._expect(expected)

        version = MetadataVersion(expected + 1)
        self._put(expected, version, change, [fence], [], check)
        if version % TRIM_EVERY == 0 and version > HISTORY:
            self._trim(MetadataVersion(version - HISTORY))
        return Changes(expected, version, change.puts, change.deletes)

    def restore(self, changes: Changes, epochs: Mapping[LogId, Epoch]) -> None:
        """See `MetadataStore.restore`."""
        self._settle()
        state = self._reads.look()
        if changes.version <= state.version:
            raise MetadataConflict(
                f"metadata is at version {state.version}; {changes.version} is not beyond it"
            )
        fences, raised = [], []
        for log_id, epoch in epochs.items():
            newest, revision = self._reads.epoch(log_id)
            fences.append(unchanged(self._keys.epoch(log_id), revision))
            if epoch > newest:
                raised.append(put(self._keys.epoch(log_id), b"%d" % epoch))

        def check() -> None:
            raise MetadataConflict("metadata changed while it was being restored")

        gone = self._reads.record_keys(state.revision) - dict(changes.puts).keys()
        change = Change(changes.puts, tuple(sorted(gone)))
        self._put(state.version, changes.version, change, fences, raised, check)

    def prune(self, before: MetadataVersion) -> None:
        """See `MetadataStore.prune`."""
        keys = self._keys
        for _ in range(_MOST_ATTEMPTS):
            self._settle()
            state = self._reads.look()
            upto = min(before, state.version)
            if upto <= state.pruned:
                return
            following = MetadataVersion(upto + 1)
            operations = [
                put(keys.pruned, b"%d" % upto),
                delete(keys.change(_NONE), keys.change(following)),
                delete(keys.staged(_NONE), keys.staged(following)),
            ]
            same = [unchanged(keys.pruned, state.pruned_revision), unchanged(keys.pending, 0)]
            if self._client.write(same, operations).succeeded:
                return
        raise _contended()

    def _put(
        self,
        expected: MetadataVersion,
        version: MetadataVersion,
        change: Change,
        fences: Sequence[Part],
        more: Sequence[Part],
        check: Callable[[], None],
    ) -> None:
        """Raise the version from `expected`, with a change.

        Args:
            fences: comparisons that have to hold as well.
            more: operations of the same transaction.
            check: raises when one of the fences, or the version, is the reason for a failure.
        """
        keys = self._keys
        inline = self._changes.inline(change)
        staged = None if inline else self._changes.stage(change, expected, version)
        operations = [put(keys.version, b"%d" % version), *more]
        if inline:
            operations += [put(keys.change(version), inline)]
            operations += [part for part, _ in record_operations(keys, change.bodies)]
        elif staged:
            operations += [put(keys.change(version), staged.encoded)]
            operations += [put(keys.pending, b"%d" % version)]
        compare = [value_is(keys.version, b"%d" % expected), unchanged(keys.pending, 0), *fences]
        for _ in range(_MOST_ATTEMPTS):
            if self._client.write(compare, operations).succeeded:
                break
            try:
                check()
                self._settle()
            except MetadataConflict:
                if staged:
                    with suppress(Unavailable):  # else it goes when its version is forgotten
                        self._changes.discard(staged)
                raise
        else:
            raise _contended()
        if staged:
            try:
                self._copy(version, change)
            except Unavailable as error:  # committed all the same; who comes next copies
                _log.info("records of metadata version %d stay pending: %s", version, error)

    def _expect(self, expected: MetadataVersion) -> None:
        found = self._reads.version()
        if expected != found:
            raise MetadataConflict(f"metadata is at version {found}, not {expected}")

    def _settle(self) -> None:
        """Copy the records that are pending, if any."""
        for _ in range(_MOST_ATTEMPTS):
            with suppress(Compacted):
                state = self._reads.look()
                if not state.pending:
                    return
                pending = self._changes.read(state.pending, state.pending, revision=state.revision)
                for change in pending:
                    self._copy(state.pending, change)
        raise _contended()

    def _copy(self, version: MetadataVersion, change: Change) -> None:
        """Give records the bodies that a pending version has for them."""
        key = self._keys.pending
        same = [value_is(key, b"%d" % version)]
        for operations in _batches(record_operations(self._keys, change.bodies)):
            if not self._client.write(same, operations).succeeded:
                return  # somebody else came to the end of it
        self._client.write(same, [delete(key)])

    def _trim(self, before: MetadataVersion) -> None:
        try:
            self.prune(before)
        except Unavailable as error:
            _log.info("old changes of the metadata stay for now: %s", error)


def _batches(operations: Iterable[tuple[Part, int]]) -> Iterable[list[Part]]:
    """Operations in lists that etcd takes in one transaction."""
    batch: list[Part] = []
    size_bytes = 0
    for part, part_bytes in operations:
        if len(batch) == LARGEST_OPERATIONS or (batch and size_bytes + part_bytes > 2 * PART_BYTES):
            yield batch
            batch, size_bytes = [], 0
        batch.append(part)
        size_bytes += part_bytes
    if batch:
        yield batch


def _contended() -> MetadataUnavailable:
    return MetadataUnavailable(f"the metadata changed during each of {_MOST_ATTEMPTS} attempts")
