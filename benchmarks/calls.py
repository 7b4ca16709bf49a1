"""Clients in processes of their own that upsert single rows or search, and what became of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from pymilvus import DataType, MilvusClient

from benchmarks.recorder import COLLECTION, DIM

_END_S = 90.0


class Load(NamedTuple):
    """One process of clients."""

    what: str
    clients: int
    first: int = 0


class Call(NamedTuple):
    """A call that was answered; times of the wall clock. A search writes no key."""

    key: int
    stamp: int
    began_s: float
    ended_s: float


class Calls:
    """What clients did; filled when they have ended."""

    def __init__(self) -> None:
        self.done: dict[str, list[Call]] = {"upsert": [], "search": []}
        self.failed: dict[str, list[str]] = {"upsert": [], "search": []}


def create(uri: str) -> None:
    """The collection of the calls, loaded."""
    client = MilvusClient(uri)
    schema = client.create_schema(auto_id=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("stamp", DataType.INT64)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIM)
    index = client.prepare_index_params("vector", index_type="FLAT", metric_type="L2")
    client.create_collection(COLLECTION, schema=schema, index_params=index)
    client.close()


@contextmanager
def calling(uri: str, loads: Sequence[Load]) -> Iterator[Calls]:
    """Clients that all begin before the body and end after it."""
    found = Calls()
    command = [sys.executable, "-m", "benchmarks.recorder", uri]
    children = [
        subprocess.Popen(
            [*command, load.what, "--clients", str(load.clients), "--first", str(load.first)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for load in loads
    ]
    try:
        for child in children:
            assert child.stdout is not None
            if child.stdout.readline().strip() != "ready":
                raise RuntimeError("a client did not start")
        _tell(children, "begin")
        yield found
        _tell(children, "end")
        for load, child in zip(loads, children, strict=True):
            report: dict[str, Any] = json.loads(child.communicate(timeout=_END_S)[0])
            found.done[load.what] += [Call(*call) for call in report["calls"]]
            found.failed[load.what] += report["errors"]
    finally:
        for child in children:
            child.kill()
            child.wait()


def _tell(children: Sequence[subprocess.Popen[str]], word: str) -> None:
    for child in children:
        assert child.stdin is not None
        child.stdin.write(f"{word}\n")
        child.stdin.flush()
