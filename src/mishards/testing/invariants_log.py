"""What must hold of each log by itself: I5, and the order of I1.

I5 one epoch at a time writes: once an entry of a later epoch is durable, none of an earlier one
becomes so · I1 timestamps rise, and each mutation is applied once; what is durable stays, but for
what was trimmed, and fences always stay.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from mishards.core.errors import MishardsError
from mishards.core.ids import LogId
from mishards.log.store import LogStore
from mishards.metadata.snapshot import MetadataSnapshot
from mishards.storage.protocol import ObjectStore
from mishards.testing.violation import Violation
from mishards.testing.witness import Durable


def written_logs(log: Sequence[Durable]) -> list[Violation]:
    """Hold the entries of all logs, in the order they became durable, against I5 and I1."""
    wrong: list[Violation] = []
    for log_id in sorted({durable.entry.log_id for durable in log}):
        wrong += _written(log_id, [one for one in log if one.entry.log_id == log_id])
    return wrong


def _written(log_id: LogId, log: Iterable[Durable]) -> Iterable[Violation]:
    epoch, seq, timestamp = 0, 0, 0
    tokens: Counter[bytes] = Counter()
    for _, entry in log:
        where = f"entry {entry.seq} of log {log_id}"
        if entry.epoch < epoch:
            yield Violation("I5", f"{where} is of epoch {entry.epoch}, after {epoch}")
        if entry.seq <= seq:
            yield Violation("I5", f"{where} was created after entry {seq}")
        epoch, seq = max(epoch, entry.epoch), max(seq, entry.seq)
        for mutation in entry.mutations:
            if mutation.timestamp <= timestamp:
                yield Violation("I1", f"timestamp {mutation.timestamp} follows {timestamp}")
            timestamp = mutation.timestamp
            tokens[mutation.token] += 1
    for token, times in tokens.items():
        if times > 1:
            yield Violation(
                "I1", f"the mutation with token {token.hex()} was applied {times} times"
            )


async def stored_logs(
    store: ObjectStore, log: Sequence[Durable], snapshot: MetadataSnapshot
) -> list[Violation]:
    """Compare the entries on storage with those that became durable."""
    wrong: list[Violation] = []
    for log_id in sorted(snapshot.logs):
        written = [one.entry.seq for one in log if one.entry.log_id == log_id]
        wrong += await _stored(store, log_id, written, snapshot)
    return wrong


async def _stored(
    store: ObjectStore, log_id: LogId, written: Sequence[int], snapshot: MetadataSnapshot
) -> list[Violation]:
    meta, stored = snapshot.logs[log_id], LogStore(store, log_id)
    try:
        held = [entry.seq async for entry, _ in stored.read_from(meta.trimmed)]
    except MishardsError as error:
        return [Violation("I1", f"log {log_id} cannot be read: {error.message}")]
    kept = [seq for seq in written if seq >= meta.trimmed]
    wrong = [] if held == kept else [Violation("I1", f"log {log_id} is not what was written")]
    there = set(await stored.held_before(meta.trimmed))
    fences = {seq for seq in meta.fences if seq < meta.trimmed}
    for seq in sorted(fences.intersection(written) - there):
        wrong.append(Violation("I5", f"fence {seq} of log {log_id} was trimmed"))
    return wrong
