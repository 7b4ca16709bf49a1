"""The recall guard on a whole instance: what it reports is what a test computes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import mishards
from mishards.server.config import load_config
from mishards.server.status import CollectionReport, cluster_report
from mishards.testing.client_rows import connected, create, insert, query_of, true_nearest
from mishards.testing.local_cluster import wait_for

KEYS = list(range(3000))
LIMIT = 10


def reported(data: str, name: str) -> CollectionReport:
    config = load_config(options={"cluster.data": data}, environ={}).config
    return next(c for c in asyncio.run(cluster_report(config)).collections if c.name == name)


def checked(client: Any, data: str, name: str, **options: Any) -> list[list[int]]:
    """Ids that searches find, each of which the guard has checked."""
    found: list[list[int]] = []
    for number in range(3):
        queries = [query_of(4 * number + n) for n in range(4)]
        answer = client.search(name, queries, limit=LIMIT, consistency_level="Strong", **options)
        found += [[hit["id"] for hit in hits] for hits in answer]
        count = len(found)
        wait_for(lambda count=count: reported(data, name).recall_queries >= count, "it is checked")
    assert reported(data, name).recall_queries == len(found)
    return found


@pytest.mark.timeout(300)
def test_it_reports_the_recall_that_searches_have(tmp_path: Path) -> None:
    settings = {"recall__share": 1.0, "recall__per_minute": 1e6}
    with mishards.start(tmp_path, **settings) as server, connected(server.uri) as client:
        create(client, "poor", "IVF_FLAT")
        create(client, "exact", "FLAT")
        for name in ("poor", "exact"):
            insert(client, name, KEYS)
            client.flush(name)
        insert(client, "exact", [5000, 5001])
        client.delete("exact", filter="id < 100")

        def indexed() -> bool:
            segments = reported(server.data, "poor").segments
            served = [how for segment in segments for how in segment.served_by.values()]
            return bool(served) and all("IVF" in how for how in served)

        wait_for(indexed, "the index is built and used", 60.0)
        found = checked(client, server.data, "poor", search_params={"params": {"nprobe": 1}})
        truth = [true_nearest(KEYS, query_of(number), LIMIT) for number in range(len(found))]
        shares = [len({*one} & {*other}) / LIMIT for one, other in zip(found, truth, strict=True)]
        recall = sum(shares) / len(shares)
        assert recall < 0.9
        assert reported(server.data, "poor").recall == pytest.approx(recall)

        checked(client, server.data, "exact", filter="id > 50")
        assert reported(server.data, "exact").recall == 1.0
