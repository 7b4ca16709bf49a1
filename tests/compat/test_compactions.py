"""Compactions that clients ask for: how they go, what they merge, and that no answer changes."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from pymilvus import Collection, DataType, MilvusClient, MilvusException

KEY = {"datatype": DataType.INT64, "is_primary": True}
VECTOR = {"datatype": DataType.FLOAT_VECTOR, "dim": 2}
_DEADLINE_S = 30.0
pytestmark = pytest.mark.on_cluster


def _filled(client: MilvusClient, create: Callable[..., str]) -> str:
    """Three segments of 5 rows, with two rows deleted since."""
    name = create({"id": KEY, "vector": VECTOR})
    for start in (0, 5, 10):
        client.insert(name, [{"id": n, "vector": [float(n), 0.0]} for n in range(start, start + 5)])
        client.flush(name)
    client.delete(name, ids=[3, 12])
    client.flush(name)
    return name


def _completed(client: MilvusClient, job: int) -> None:
    until_s = time.monotonic() + _DEADLINE_S
    while (state := client.get_compaction_state(job)) != "Completed":
        assert state == "Executing"
        assert time.monotonic() < until_s
        time.sleep(0.05)


def test_segments_are_merged_and_answers_stay(
    client: MilvusClient, create: Callable[..., str]
) -> None:
    name = _filled(client, create)
    job = client.compact(name)
    assert job > 0
    _completed(client, job)
    (segment,) = client.list_persistent_segments(name)
    assert segment.num_rows == 13
    left = [n for n in range(15) if n not in (3, 12)]
    assert [row["id"] for row in client.query(name, "id >= 0")] == left
    hits = client.search(name, [[3.0, 0.0]], limit=15)[0]
    assert sorted(hit["id"] for hit in hits) == left
    client.release_collection(name)
    client.load_collection(name)
    assert [row["id"] for row in client.query(name, "id >= 0")] == left


def test_plans_name_what_was_merged(
    client: MilvusClient, create: Callable[..., str], using: str
) -> None:
    name = _filled(client, create)
    collection = Collection(name, using=using)
    collection.compact()
    collection.wait_for_compaction_completed(timeout=_DEADLINE_S)
    state = collection.get_compaction_state()
    assert (state.state_name, state.in_executing, state.in_timeout) == ("Completed", 0, 0)
    plans = collection.get_compaction_plans()
    (segment,) = client.list_persistent_segments(name)
    merged = [plan for plan in plans.plans if plan.target == segment.segment_id]
    # What compacts by itself may have come first.
    assert len(plans.plans) == state.completed
    assert all(plan.sources for plan in merged)


def test_nothing_to_do_is_completed(client: MilvusClient, create: Callable[..., str]) -> None:
    name = create({"id": KEY, "vector": VECTOR})
    _completed(client, client.compact(name))
    _completed(client, client.compact(name, is_clustering=True))
    assert client.get_compaction_state(123) == "Completed"


def test_a_missing_collection_is_refused(client: MilvusClient) -> None:
    with pytest.raises(MilvusException, match="not found"):
        client.compact("no_such_collection")
