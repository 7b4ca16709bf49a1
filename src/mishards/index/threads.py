"""How many threads Faiss may take for a call.

Invariant: the number belongs to the calling thread (OpenMP keeps it per thread), so concurrent
calls do not disturb each other. A thread that calls `limit_threads` stays limited until it calls
again: every call into Faiss is preceded by one.
"""

from __future__ import annotations

import threading

import faiss

_current = threading.local()


def limit_threads(count: int) -> None:
    """Let Faiss use at most `count` threads for what this thread calls next."""
    if getattr(_current, "count", 0) != count:
        faiss.omp_set_num_threads(count)
        _current.count = count
