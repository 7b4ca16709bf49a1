"""Settings of a reader."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec


class ReaderConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a reader.

    Attributes:
        cache_dir: folder for files of segments whose storage has no local files, S3's as an
            example. Readers that share it take a part of their own each; what is there is used
            again after a restart. Empty: in the node's scratch folder, which ends with the node.
        cache_bytes: most that the files in it may take, of this reader; 0 for no limit but the
            disk's. Segments that do not fit are fetched when they are read, in place of those
            that were not read for the longest time.
        verify: `open` compares the checksums of all files when a segment is opened, about 10 ms
            for 100 MB that the system has in memory; `never` trusts storage.
        quarantine_s: how long a segment or index that was found damaged is not tried again;
            doubled with each failure, up to 16 times this.
        retention_s: how long rows and segments that newer metadata no longer names are kept for
            reads planned before; longer than the longest read.
        housekeeping_s: how often what has outlived its retention is looked for.
        mask_cache_bytes: memory for the filter masks of segments.
        pending_bytes: memory for log entries of collections that metadata does not know yet.
        inline_cost_us: greatest estimated time of a read that is answered on the loop's thread.
        direct_cost_us: the same on any other thread that calls `handle_now`.
    """

    cache_dir: str = ""
    cache_bytes: Annotated[int, msgspec.Meta(ge=0)] = 0
    verify: Literal["open", "never"] = "open"
    quarantine_s: float = 5.0
    retention_s: float = 60.0
    housekeeping_s: float = 1.0
    mask_cache_bytes: int = 64 * 1024 * 1024
    pending_bytes: int = 64 * 1024 * 1024
    inline_cost_us: float = 500.0
    direct_cost_us: float = 2_000.0
