"""The process of one index build: `python -m mishards.writer.build_worker <job as JSON>`.

Invariants: it runs at the lowest priority; it ends when its standard input does, so it never
outlives the process that started it.
"""

from __future__ import annotations

import os
import sys
import threading

import msgspec

_ORPHANED = 3
_LOWEST_PRIORITY = 19


def main(arguments: list[str]) -> int:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.nice(_LOWEST_PRIORITY)
    # Imported late, so that the watch on the parent runs while the libraries load.
    from mishards.core.errors import MishardsError
    from mishards.writer.build_job import BuildJob, run_job

    try:
        run_job(msgspec.json.decode(arguments[0], type=BuildJob))
    except (MishardsError, OSError, RuntimeError, MemoryError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


def _end_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os._exit(_ORPHANED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
