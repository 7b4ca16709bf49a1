"""One process of clients that upsert one row after another, or search, and record every call.

Started by `benchmarks.calls`: prints `ready`, begins at the first line on standard input, ends at
the second, and prints what it did as JSON. A call that fails is recorded, and the next one made.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from typing import Any

import numpy as np
from pymilvus import MilvusClient

COLLECTION = "calls"
DIM = 128
KEYS_PER_CLIENT = 50


class Caller:
    """One client on a thread of its own. A key is upserted by one client alone, so the stamps of
    its rows rise."""

    def __init__(self, uri: str, what: str, number: int) -> None:
        self.calls: list[tuple[int, int, float, float]] = []
        self.errors: list[str] = []
        self._client = MilvusClient(uri)
        self._call = {"upsert": self._upsert, "search": self._search}[what]
        self._first_key = number * KEYS_PER_CLIENT
        self._random = np.random.default_rng(number)

    def work(self, begin: threading.Event, end: threading.Event) -> None:
        begin.wait()
        stamp = 0
        while not end.is_set():
            stamp += 1
            key = self._first_key + stamp % KEYS_PER_CLIENT
            vector = self._random.standard_normal(DIM, dtype=np.float32)
            began_s = time.time()
            try:
                self._call(key, stamp, vector)
            except Exception as error:  # a figure of the benchmark
                self.errors.append(f"{type(error).__name__}: {error}")
            else:
                self.calls.append((key, stamp, began_s, time.time()))
        self._client.close()

    def _upsert(self, key: int, stamp: int, vector: Any) -> None:
        self._client.upsert(COLLECTION, [{"id": key, "stamp": stamp, "vector": vector}])

    def _search(self, _key: int, _stamp: int, vector: Any) -> None:
        self._client.search(COLLECTION, [vector], limit=10)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("uri")
    parser.add_argument("what", choices=("upsert", "search"))
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first client")
    given = parser.parse_args()
    begin, end = threading.Event(), threading.Event()
    callers = [Caller(given.uri, given.what, given.first + n) for n in range(given.clients)]
    threads = [threading.Thread(target=caller.work, args=(begin, end)) for caller in callers]
    for thread in threads:
        thread.start()
    print("ready", flush=True)
    sys.stdin.readline()
    begin.set()
    sys.stdin.readline()
    end.set()
    for thread in threads:
        thread.join()
    found = {
        "calls": [call for caller in callers for call in caller.calls],
        "errors": [error for caller in callers for error in caller.errors],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
