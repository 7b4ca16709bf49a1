"""The stream of a log: from its leader to all who follow it."""

from __future__ import annotations

from mishards.core.ids import EntrySeq, LogId, MetadataVersion, Timestamp
from mishards.metadata.protocol import Changes
from mishards.rpc.messages.form import Form, Raw


class Follow(Form, frozen=True, kw_only=True, tag="follow"):
    """Subscribe to a log from entry `seq` on and to metadata after `version`.

    `entries` false: positions and metadata only, for proxies.
    """

    log: LogId
    seq: EntrySeq
    version: MetadataVersion
    entries: bool = True


class LogPush(Form, frozen=True, kw_only=True, tag="log_push"):
    """One durable entry, as stored."""

    seq: EntrySeq
    timestamp: Timestamp
    entry: Raw = b""


class MetadataPush(Form, frozen=True, kw_only=True, tag="metadata_push"):
    changes: Changes


class Tick(Form, frozen=True, kw_only=True, tag="tick"):
    """Every mutation up to `timestamp` is in the entries up to `seq`."""

    seq: EntrySeq
    timestamp: Timestamp
