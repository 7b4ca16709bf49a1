"""One client process: searches in a closed loop and prints what it saw as JSON.

Waits for a line on standard input before it starts, so that several clients start together.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import numpy as np
from pymilvus import MilvusClient


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("uri")
    parser.add_argument("queries")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--skip", type=int, default=0)
    parser.add_argument("--metric", default="L2")
    parser.add_argument("--ef", type=int, default=32)
    parser.add_argument("--filter", default="")
    parser.add_argument("--collection", default="bench")
    chosen = parser.parse_args()
    queries = np.roll(np.load(chosen.queries), -chosen.skip, axis=0)
    client = MilvusClient(chosen.uri)
    parameters = {"metric_type": chosen.metric, "params": {"ef": chosen.ef}}

    def search(vector: np.ndarray) -> None:
        client.search(
            chosen.collection,
            [vector],
            limit=10,
            search_params=parameters,
            filter=chosen.filter,
        )

    for vector in queries[:50]:
        search(vector)
    print("ready", flush=True)
    sys.stdin.readline()
    latencies = []
    start = now = time.perf_counter()
    number = 0
    while now - start < chosen.seconds:
        search(queries[number % len(queries)])
        done = time.perf_counter()
        latencies.append(done - now)
        now = done
        number += 1
    print(json.dumps({"seconds": now - start, "latencies": latencies}))


if __name__ == "__main__":
    main()
