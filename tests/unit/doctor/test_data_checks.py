"""What the doctor says of storage, database and collections."""

from __future__ import annotations

import pytest

from mishards.doctor.database import DatabaseFacts, judge_database
from mishards.doctor.findings import Level, Trouble
from mishards.doctor.serving import judge_serving
from mishards.doctor.storage import StorageFacts, judge_storage
from mishards.metadata.sql_schema import SCHEMA_VERSION
from mishards.server.config import Config
from mishards.testing.doctored import NOW_MS, found, levels, node, segment, snapshot

CONFIG = Config()
GIB = 1 << 30


def storage(**facts: object) -> dict[str, Level]:
    given = {
        "where": "/data",
        "identity": "c",
        "commits_s": (0.001, 0.002, 9.0),
        "free_bytes": 50 * GIB,
        "free_files": 10**6,
        "owner": 0,
    }
    return levels(judge_storage(StorageFacts(**(given | facts)), CONFIG))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, {}),
        ({"free_bytes": None, "free_files": None, "owner": None}, {}),
        ({"identity": ""}, {"storage.reached": Level.FAILURE}),
        ({"unfit": "no links", "commits_s": ()}, {"storage.fit": Level.FAILURE}),
        ({"full": True, "commits_s": ()}, {"storage.space": Level.FAILURE}),
        ({"free_bytes": 1 << 20}, {"storage.space": Level.FAILURE}),
        ({"free_bytes": GIB // 2}, {"storage.space": Level.WARNING}),
        ({"free_files": 3}, {"storage.space": Level.FAILURE}),
        ({"owner": 7}, {"storage.owner": Level.NOTE}),
        ({"commits_s": (0.5,)}, {"storage.commit": Level.NOTE}),
        ({"commits_s": (3.0,)}, {"storage.commit": Level.WARNING}),
    ],
)
def test_storage(facts: dict[str, object], expected: dict[str, Level]) -> None:
    assert storage(**facts) == expected


def test_storage_that_does_not_answer() -> None:
    told = judge_storage(Trouble("not within 10 s"), CONFIG)
    assert found(told) == {"storage.reached": (Level.FAILURE, "not within 10 s")}


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, {}),
        ({"schema": None}, {}),
        ({"schema": 0}, {"database.schema": Level.FAILURE}),
        ({"schema": SCHEMA_VERSION + 1}, {"database.schema": Level.FAILURE}),
        ({"schema": SCHEMA_VERSION - 1}, {"database.schema": Level.NOTE}),
        ({"behind": "it lost version 3"}, {"database.journal": Level.FAILURE}),
        ({"reads_s": (0.3,)}, {"database.latency": Level.NOTE}),
        ({"reads_s": (5.0,)}, {"database.latency": Level.WARNING}),
    ],
)
def test_database(facts: dict[str, object], expected: dict[str, Level]) -> None:
    given = {"where": "d", "schema": SCHEMA_VERSION, "reads_s": (0.001,)} | facts
    assert levels(judge_database(DatabaseFacts(**given))) == expected  # type: ignore[arg-type]


def test_a_database_that_does_not_answer() -> None:
    assert found(judge_database(Trouble("refused"))) == {
        "database.reached": (Level.FAILURE, "refused")
    }


# --- collections ----------------------------------------------------------------------------------

SEGMENT = segment()
HOLDS = node("r", "reader", status={"segments": {SEGMENT.id: "HNSW"}})
EMPTY = node("e", "reader")


@pytest.mark.parametrize(
    ("replicas", "loaded", "nodes", "expected"),
    [
        (1, True, (HOLDS,), {}),
        (2, True, (HOLDS, EMPTY), {}),
        (2, True, (HOLDS,), {"collections.replicas": Level.WARNING}),
        (2, True, (HOLDS, node("p", "proxy")), {"collections.replicas": Level.WARNING}),
        (1, True, (EMPTY,), {"collections.served": Level.WARNING}),
        (1, False, (EMPTY,), {}),
    ],
)
def test_who_serves(
    replicas: int, loaded: bool, nodes: tuple[object, ...], expected: dict[str, Level]
) -> None:
    held = snapshot(replicas=replicas, loaded=loaded, segments=(SEGMENT,))
    assert levels(judge_serving(held, nodes, NOW_MS)) == expected  # type: ignore[arg-type]


def test_a_segment_that_is_refused_is_named_with_its_collection() -> None:
    status = {"segments": {SEGMENT.id: "raw"}, "quarantined": {SEGMENT.id: "bad checksum"}}
    bad = node("r", "reader", status=status)
    told = found(judge_serving(snapshot(segments=(SEGMENT,)), (bad,), NOW_MS))
    level, seen = told["collections.damage"]
    assert level is Level.FAILURE
    assert "collection 'c' is refused by r: bad checksum" in seen


@pytest.mark.parametrize(
    ("rows", "sealed_s_ago", "expected"),
    [
        (100, 9_999.0, {}),  # too small for an index
        (5_000, 60.0, {"collections.indexes": Level.NOTE}),
        (5_000, 9_999.0, {"collections.indexes": Level.WARNING}),
    ],
)
def test_indexes_that_are_missing(
    rows: int, sealed_s_ago: float, expected: dict[str, Level]
) -> None:
    waiting = segment(rows=rows, sealed_s_ago=sealed_s_ago)
    holds = node("r", "reader", status={"segments": {waiting.id: "raw"}})
    assert levels(judge_serving(snapshot(segments=(waiting,)), (holds,), NOW_MS)) == expected
