"""Where metadata lies in etcd's key space, below one prefix.

    <prefix>/schema, cluster     the layout's version; the cluster id
    <prefix>/version             of the newest commit, as decimal digits
    <prefix>/pruned              changes up to this version are forgotten
    <prefix>/pending             the version whose records are still being copied, if any
    <prefix>/epoch/<log>         the newest epoch of a log
    <prefix>/record/<key>        bodies of records, in parts
    <prefix>/change/<version>    what a commit put and deleted, or the name of where that lies
    <prefix>/staged/<version>/<unique>/   parts of a change that is too large for its place

Invariant: a version stands in keys with 20 digits, so that keys are in the order of versions.
"""

from __future__ import annotations

from mishards.core.ids import LogId, MetadataVersion
from mishards.storage.etcd_requests import after

PART_BYTES = 512 * 1024
"""The largest value that is put: etcd takes requests of at most 1.5 MiB."""

_MARK = b"\xff"
"""Ends a record's key: no UTF-8 text has this byte."""


class EtcdKeys:
    """The keys of one data set."""

    def __init__(self, prefix: str) -> None:
        root = prefix.encode() + b"/"
        self.schema = root + b"schema"
        self.cluster = root + b"cluster"
        self.version = root + b"version"
        self.pruned = root + b"pruned"
        self.pending = root + b"pending"
        self._root = root

    def epoch(self, log_id: LogId) -> bytes:
        return self._root + b"epoch/%d" % log_id

    def change(self, version: MetadataVersion) -> bytes:
        return self._root + b"change/%020d" % version

    def staged(self, version: MetadataVersion) -> bytes:
        """What the keys of staged parts for a version begin with; see `after`."""
        return self._root + b"staged/%020d/" % version

    @property
    def records(self) -> tuple[bytes, bytes]:
        """First key, and the key after the last."""
        start = self._root + b"record/"
        return start, after(start)

    def record_part(self, key: str, part: int) -> bytes:
        """A record's body is the parts from 0 on, in order."""
        return self._root + b"record/" + key.encode() + _MARK + b"%06d" % part

    def record_end(self, key: str) -> bytes:
        """A key after all parts of a record, and before those of any other."""
        return self._root + b"record/" + key.encode() + _MARK + b"~"

    def record_of(self, found: bytes) -> str:
        """The key of the record that a part belongs to."""
        start, _ = self.records
        return found[len(start) :].rpartition(_MARK)[0].decode()


def cut(body: bytes) -> list[bytes]:
    """A body in parts of at most `PART_BYTES`; at least one."""
    return [body[at : at + PART_BYTES] for at in range(0, max(len(body), 1), PART_BYTES)]
