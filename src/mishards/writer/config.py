"""Settings of a writer."""

from __future__ import annotations

import msgspec

_MIB = 1024 * 1024


class WriterConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a writer.

    Attributes:
        entry_max_bytes: a log entry takes no further mutation beyond this.
        queue_max_bytes: mutations waiting for the log beyond this are refused.
        flush_rows: growing rows of a collection that are sealed without being asked.
        flush_bytes: likewise, bytes of its mutations.
        flush_mutations: likewise, calls that changed it: whoever starts has to read them all.
        flush_age_s: growing mutations older than this are sealed without being asked.
        flush_check_s: how often age is looked at.
        segment_max_rows: most rows of a sealed segment.
        segment_max_bytes: a flush starts another segment beyond this.
        delete_files_max: a collection with more delete files has them merged.
        compaction_share: part of the time that compaction works, in a process of lowest
            priority; 0 compacts only when asked. What a client asks for does not wait.
        compaction_check_s: how often compaction looks for something to do.
        compaction_fan: so many small segments of about one size are merged into one.
        compaction_dead_share: a segment with this part of its rows deleted is rewritten.
        build_min_rows: a smaller segment gets no index; searching its raw vectors is faster.
        build_workers: indexes built at a time.
        build_threads: threads of a build; 0 means all processors.
        build_retry_s: pause after a build that failed; doubled each time, up to 64 times this.
        ceiling_ms: how far ahead of the clock an entry lets its leader give timestamps away; an
            idle log gets an entry this often.
        lease_s: a leader that has not renewed its lease for so long is replaced by a standby.
        standby_poll_s: how often a standby reads what was added to the log.
        tick_s: how often an idle log tells its followers the time.
        token_window: mutations whose tokens are remembered.
        token_window_s: after a takeover, tokens of older entries may be forgotten.
        replay_tail_bytes: entries at the end of the log that are read again at a start for their
            tokens alone, though all they hold is sealed; fewer where `token_window` or
            `token_window_s` is reached before.
        log_keep_entries: newest entries of the log that are never trimmed; nodes that are no
            further behind go on where they were.
        log_keep_bytes: fewer of them are kept where they are larger than this together.
        collect_interval_s: how often garbage is looked for on storage, and the log is trimmed;
            up to ten times seldomer where that takes more than a tenth of the time.
        collect_grace_s: an object is removed when nothing has named it for so long, in two looks
            at least.
        scratch: folder for files under construction; empty for the system's. On the file system
            of the storage folder, files are moved rather than copied.
    """

    entry_max_bytes: int = 64 * _MIB
    queue_max_bytes: int = 512 * _MIB
    flush_rows: int = 1_000_000
    flush_bytes: int = 128 * _MIB
    flush_mutations: int = 50_000
    flush_age_s: float = 600.0
    flush_check_s: float = 1.0
    segment_max_rows: int = 1_000_000
    segment_max_bytes: int = 512 * _MIB
    delete_files_max: int = 16
    compaction_share: float = 0.5
    compaction_check_s: float = 5.0
    compaction_fan: int = 4
    compaction_dead_share: float = 0.2
    build_min_rows: int = 1_000
    build_workers: int = 1
    build_threads: int = 0
    build_retry_s: float = 5.0
    ceiling_ms: int = 30_000
    lease_s: float = 1.5
    standby_poll_s: float = 0.5
    tick_s: float = 0.1
    token_window: int = 100_000
    token_window_s: float = 600.0
    replay_tail_bytes: int = 64 * _MIB
    log_keep_entries: int = 1_000
    log_keep_bytes: int = 256 * _MIB
    collect_interval_s: float = 60.0
    collect_grace_s: float = 60.0
    scratch: str = ""
