"""What a commit changed, as it lies in etcd: beside the version, or staged in parts.

A change that does not fit one transaction is staged first, under a name that nobody else uses, and
then named by the transaction that raises the version. Invariants:

- staged parts count only when the change of their version names them;
- parts of a version that is forgotten (`prune`) or was committed by somebody else are garbage, and
  go when that version is forgotten, at the latest;
- nothing is staged for a version that is not the next one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from uuid import uuid4

import msgspec

from mishards.core.errors import CorruptObject, MetadataConflict
from mishards.core.ids import MetadataVersion
from mishards.metadata.etcd_keys import PART_BYTES, EtcdKeys, cut
from mishards.storage.etcd_client import EtcdClient
from mishards.storage.etcd_requests import Found, Part, after, delete, put, value_is

LARGEST_OPERATIONS = 100
"""Of one transaction: etcd takes 128."""


class Change(msgspec.Struct, frozen=True, tag="c", array_like=True):
    """Records put, and keys deleted. A key in both is put."""

    puts: tuple[tuple[str, bytes], ...]
    deletes: tuple[str, ...] = ()

    @property
    def bodies(self) -> dict[str, bytes | None]:
        """Every key that changed; None for a deleted one."""
        return {**dict.fromkeys(self.deletes), **dict(self.puts)}


class Staged(msgspec.Struct, frozen=True, tag="s", array_like=True):
    """Where the parts of a change lie."""

    version: MetadataVersion
    unique: str
    parts: int

    @property
    def encoded(self) -> bytes:
        """As it lies beside its version."""
        return _encode(self)


_encode = msgspec.msgpack.encode
_decoder: msgspec.msgpack.Decoder[Change | Staged] = msgspec.msgpack.Decoder(Change | Staged)


class ChangeLog:
    """Writes and reads the changes of one data set. Blocking; any thread may call."""

    def __init__(self, client: EtcdClient, keys: EtcdKeys) -> None:
        self._client = client
        self._keys = keys

    def inline(self, change: Change) -> bytes | None:
        """The change as it lies beside its version with its records put in the same transaction;
        None when it is too large for that."""
        if 2 * len(change.puts) + len(change.deletes) > LARGEST_OPERATIONS:
            return None
        encoded = _encode(change)
        return encoded if len(encoded) <= PART_BYTES else None

    def stage(self, change: Change, expected: MetadataVersion, version: MetadataVersion) -> Staged:
        """Put the parts of a change that will make `version` out of version `expected`.

        Raises:
            MetadataConflict: the version is no longer `expected`.
        """
        parts = cut(_encode(change))
        staged = Staged(version, uuid4().hex, len(parts))
        prefix = self._prefix(staged)
        same = [value_is(self._keys.version, b"%d" % expected)]
        for number, part in enumerate(parts):
            if not self._client.write(same, [put(prefix + b"%06d" % number, part)]).succeeded:
                self.discard(staged)
                raise MetadataConflict(f"metadata is no longer at version {expected}")
        return staged

    def discard(self, staged: Staged) -> None:
        """Remove parts that no change will name."""
        prefix = self._prefix(staged)
        self._client.write([], [delete(prefix, after(prefix))])

    def read(
        self, first: MetadataVersion, last: MetadataVersion, *, revision: int
    ) -> Iterable[Change]:
        """The changes of versions from `first` to `last`, as of a revision of the store."""
        start, end = self._keys.change(first), self._keys.change(MetadataVersion(last + 1))
        for found in self._client.scan(start, end, revision=revision):
            yield self._read(found, revision)

    def _read(self, found: Found, revision: int) -> Change:
        value = self._decoded(found.key, found.value)
        if isinstance(value, Change):
            return value
        prefix = self._prefix(value)
        parts = self._client.scan(prefix, after(prefix), revision=revision)
        change = self._decoded(prefix, b"".join(part.value for part in parts))
        if not isinstance(change, Change):
            raise CorruptObject(f"the metadata at {prefix!r} in etcd is no change")
        return change

    def _decoded(self, key: bytes, data: bytes) -> Change | Staged:
        try:
            return _decoder.decode(data)
        except msgspec.MsgspecError as error:
            raise CorruptObject(f"the metadata at {key!r} in etcd is damaged: {error}") from error

    def _prefix(self, staged: Staged) -> bytes:
        return self._keys.staged(staged.version) + staged.unique.encode() + b"/"


def record_operations(
    keys: EtcdKeys, bodies: Mapping[str, bytes | None]
) -> Iterable[tuple[Part, int]]:
    """The operations that give records their bodies, None for a deleted one, and their bytes.

    They may be done in any transactions, each of them any number of times.
    """
    for key, body in bodies.items():
        parts = [] if body is None else cut(body)
        for number, part in enumerate(parts):
            name = keys.record_part(key, number)
            yield put(name, part), len(name) + len(part)
        yield delete(keys.record_part(key, len(parts)), keys.record_end(key)), len(key) + 64
