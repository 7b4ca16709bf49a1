"""A search that is asked to explain itself: what pymilvus hands on of that."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pymilvus import MilvusClient


@pytest.fixture
def mishards(client: MilvusClient) -> MilvusClient:
    """Only Mishards explains searches."""
    if not client.get_server_version().startswith("mishards"):
        pytest.skip("another server than Mishards")
    return client


def explanation(result: Any) -> dict[str, Any]:
    """As `mishards.client.explanation`, which is not there where only a client is."""
    told: dict[str, Any] = json.loads(result.get_search_iterator_v2_results_info().token)
    return told


@pytest.mark.on_cluster
@pytest.mark.parametrize("place", ["beside", "inside"])
def test_an_explained_search_says_what_it_did(
    mishards: MilvusClient, words: str, place: str
) -> None:
    asked = {"explain": True} if place == "beside" else {"params": {"explain": True}}
    query: Any = [[3.0, 4.0]]
    found = mishards.search(words, query, limit=3, filter="id > 2", search_params=asked)
    plain = mishards.search(words, query, limit=3, filter="id > 2")
    assert [hit["id"] for hit in found[0]] == [hit["id"] for hit in plain[0]]
    told = explanation(found)
    assert told["collection"] == words
    assert [name for name, _ in told["stages"]][-3:] == ["get_routing", "do_search", "do_merge"]
    sealed = [one for one in told["segments"] if one["segment"]]
    assert sum(one["rows"] for one in sealed) == 5
    assert sum(one["rows_allowed"] for one in sealed) == 2
    assert sealed[0]["selectivity"] == pytest.approx(0.4)
    assert {one["method"] for one in told["segments"]} <= {"index", "brute_force"}
    readers = {one["reader"] for one in told["readers"]}
    assert {one["reader"] for one in told["segments"]} == readers
    assert all(one["call"].startswith("search_") for one in told["readers"])
    spans = told["spans"]
    assert spans[0]["name"] == "Search"
    assert {span["parent_id"] for span in spans[1:]} <= {span["span_id"] for span in spans}


def test_what_statistics_rule_out_is_named(mishards: MilvusClient, words: str) -> None:
    found = mishards.search(
        words, [[3.0, 4.0]], filter="id > 1000", search_params={"explain": True}
    )
    (pruned,) = explanation(found)["pruned"]
    assert pruned["rows"] == 5
    assert "filter" in pruned["why"]


def test_who_does_not_ask_gets_no_explanation(mishards: MilvusClient, words: str) -> None:
    for options in ({}, {"search_params": {"explain": False}}):
        found = mishards.search(words, [[3.0, 4.0]], **options)
        assert found.get_search_iterator_v2_results_info().token == ""
