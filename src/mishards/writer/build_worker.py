"""The process of one index build or merge: `python -m mishards.writer.build_worker`, with the job
as one line of JSON on its standard input, and its result as JSON on its standard output.

Invariants: it runs at the lowest priority; it ends when its standard input does, so it never
outlives the process that started it.
"""

from __future__ import annotations

import os
import sys
import threading

_ORPHANED = 3
_LOWEST_PRIORITY = 19


def main() -> int:
    os.nice(_LOWEST_PRIORITY)
    line = sys.stdin.buffer.readline()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Imported late, so that the watch on the parent runs while the libraries load.
    import msgspec
    import pyarrow as pa

    from mishards.core.errors import MishardsError
    from mishards.writer.build_job import Job, run_job

    pa.set_cpu_count(1)
    try:
        sys.stdout.write(msgspec.json.encode(run_job(msgspec.json.decode(line, type=Job))).decode())
    except (MishardsError, OSError, RuntimeError, MemoryError, msgspec.MsgspecError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


def _end_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os._exit(_ORPHANED)


if __name__ == "__main__":
    sys.exit(main())
