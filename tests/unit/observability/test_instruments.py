"""Instruments add up, are found again by their labels, and are bounded in number."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from mishards.observability.instruments import Metrics, Reading
from mishards.observability.metrics import (
    COMMIT_MUTATIONS,
    LOG_ENTRY,
    MOST_COLLECTIONS,
    OTHERS,
    RECALL,
    REQUESTS,
    REQUESTS_IN_FLIGHT,
    SEARCH_QUERIES,
)


def numbers(metrics, metric):
    return {m.metric: m.numbers for m in metrics.values()}.get(metric)


def test_an_instrument_is_found_again_by_its_labels():
    metrics = Metrics()
    assert metrics.counter(REQUESTS, "Search", "0") is metrics.counter(REQUESTS, "Search", "0")
    metrics.counter(REQUESTS, "Search", "0").inc()
    metrics.counter(REQUESTS, "Insert", "0").inc(2)
    assert numbers(metrics, REQUESTS) == {("Search", "0"): 1, ("Insert", "0"): 2}


def test_two_nodes_of_a_process_share_nothing():
    one, other = Metrics(), Metrics()
    one.counter(SEARCH_QUERIES).inc()
    assert numbers(other, SEARCH_QUERIES) is None


def test_labels_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="method"):
        Metrics().counter(REQUESTS, "Search")


def test_threads_lose_no_count():
    metrics = Metrics()
    counter, histogram = metrics.counter(SEARCH_QUERIES), metrics.histogram(COMMIT_MUTATIONS)

    def count():
        for _ in range(5_000):
            counter.inc()
            histogram.observe(3)

    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(count) for _ in range(4)]:
            done.result()
    assert counter.value == 20_000
    counts, total = histogram.state()
    assert (sum(counts), total) == (20_000, 60_000)


def test_a_bucket_counts_what_is_up_to_its_bound():
    histogram = Metrics().histogram(COMMIT_MUTATIONS)
    for value in (1, 2, 2.5, 5_000):
        histogram.observe(value)
    counts, _ = histogram.state()
    assert counts[:3] == [1, 1, 1]
    assert counts[-1] == 1


def test_what_is_read_adds_up_with_what_was_set_until_it_is_ended():
    metrics = Metrics()
    metrics.gauge(REQUESTS_IN_FLIGHT).set(2)
    end = metrics.read(lambda: [Reading(REQUESTS_IN_FLIGHT, 3), Reading(LOG_ENTRY, 7, ("0", "a"))])
    assert numbers(metrics, REQUESTS_IN_FLIGHT) == {(): 5}
    assert numbers(metrics, LOG_ENTRY) == {("0", "a"): 7}
    end()
    end()
    assert numbers(metrics, REQUESTS_IN_FLIGHT) == {(): 2}
    assert numbers(metrics, LOG_ENTRY) is None


def test_more_collections_than_are_allowed_are_one():
    metrics = Metrics()
    for number in range(MOST_COLLECTIONS + 5):
        metrics.gauge(RECALL, "default", f"c{number}").set(1)
    found = numbers(metrics, RECALL)
    assert len(found) == MOST_COLLECTIONS + 1
    assert (OTHERS, OTHERS) in found
    metrics.forget(RECALL, "default", "c0")
    assert ("default", "c0") not in numbers(metrics, RECALL)


def test_what_is_off_counts_and_reads_nothing():
    metrics = Metrics(enabled=False)
    metrics.counter(SEARCH_QUERIES).inc()
    metrics.histogram(COMMIT_MUTATIONS).observe(1)
    metrics.gauge(REQUESTS_IN_FLIGHT).set(1)
    metrics.read(lambda: [Reading(REQUESTS_IN_FLIGHT, 3)])()
    assert metrics.values() == []
