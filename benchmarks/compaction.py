"""What compaction costs by its policy: rows written per row, space, segments, under several loads.

No clock and no disk: `CompactionModel` follows each key through flushes and compactions.
`python -m benchmarks.compaction` prints a table.
"""

from __future__ import annotations

from typing import Any

from benchmarks.table import markdown, row
from mishards.testing.compaction_loads import FLUSH_ROWS, LOADS, simulate
from mishards.writer.compaction_policy import CompactionLimits

_MOST_WRITES = 6.0


def run(quick: bool) -> list[dict[str, Any]]:
    flushes = 200 if quick else 1000
    # Flushes of 128 MiB and segments of up to 512 MiB are the defaults; here 16 flushes make one.
    limits = CompactionLimits(target_rows=16 * FLUSH_ROWS, target_bytes=16 * FLUSH_ROWS)
    rows = []
    for load in LOADS:
        model = simulate(load, flushes, limits)
        live = sum(len(segment.live) for segment in model.segments.values())
        least = max(1.0, live / limits.target_rows)
        rows.append(
            row(
                f"compaction, {load.__name__}: rows written per row",
                "one write",
                model.write_amplification,
                1.0,
                ratio=1 / model.write_amplification,
                at_most=_MOST_WRITES,
                note=(
                    f"space at most {model.worst_space:.2f} ×, at most {model.most_segments} "
                    f"segments (at the end {len(model.segments)}, {least:.0f} would do), at most "
                    f"{model.most_delete_rows} deletes kept of {model.deleted_rows}"
                ),
            )
        )
    return rows


if __name__ == "__main__":
    print(markdown(run(quick=False)))
