"""What looking at a data set found."""

from __future__ import annotations

import enum

import msgspec


class Subject(enum.StrEnum):
    """What is wrong."""

    SEGMENT = "segment"
    INDEX = "index"
    DELETES = "deletes"
    LOG = "log"
    METADATA = "metadata"
    JOURNAL = "journal"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is not as it should be.

    Attributes:
        key: of the object; empty where it is no object's fault.
        collection: its name; `collection_id` and `segment_id` are 0 where there is none.
        log_id: of the log that it belongs to.
    """

    subject: Subject
    key: str
    message: str
    collection: str = ""
    collection_id: int = 0
    segment_id: int = 0
    log_id: int = 0


class Orphan(msgspec.Struct, frozen=True, kw_only=True):
    """An object that nothing names: garbage that is not collected yet, or being made right now."""

    key: str
    size_bytes: int


class Inspected(msgspec.Struct, frozen=True, kw_only=True):
    """What was looked at, and what was found.

    Attributes:
        deep: whether checksums were compared.
        version: of the metadata that was looked at.
        objects, size_bytes: that metadata and manifests name.
        read_bytes: of all that was read.
        log_entries, journal_objects: that were read.
        notes: what is worth knowing, and in order.
        repairs: what was reported to the cluster, and what came of it.
    """

    cluster: str
    deep: bool
    version: int
    objects: int
    size_bytes: int
    read_bytes: int
    log_entries: int
    journal_objects: int
    seconds: float
    findings: tuple[Finding, ...]
    orphans: tuple[Orphan, ...]
    notes: tuple[str, ...] = ()
    repairs: tuple[str, ...] = ()

    @property
    def sound(self) -> bool:
        return not self.findings
