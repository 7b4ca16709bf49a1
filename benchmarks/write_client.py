"""One process that inserts batches into its own collection in a closed loop, and reports as JSON.

Started by `benchmarks.logs`: prints `ready`, waits for a line, inserts until its time is over.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import numpy as np
from pymilvus import DataType, MilvusClient

DIM = 128


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("uri")
    parser.add_argument("collection")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--batch", type=int, required=True)
    given = parser.parse_args()
    client = MilvusClient(given.uri)
    schema = client.create_schema(auto_id=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIM)
    client.create_collection(given.collection, schema=schema)
    vectors = np.random.default_rng(1).standard_normal((given.batch, DIM)).astype(np.float32)
    latencies = []
    print("ready", flush=True)
    sys.stdin.readline()
    begun = now = time.perf_counter()
    first = 0
    while now - begun < given.seconds:
        rows = [{"id": first + i, "vector": vector} for i, vector in enumerate(vectors)]
        client.insert(given.collection, rows)
        first += given.batch
        before, now = now, time.perf_counter()
        latencies.append(now - before)
    client.close()
    print(json.dumps({"rows": first, "seconds": now - begun, "latencies": latencies}))


if __name__ == "__main__":
    main()
