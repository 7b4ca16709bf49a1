"""Figures from two scrapes."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from mishards.observability import metrics as m
from mishards.top.samples import Scrape, parse, quantile, rate

TIMED = m.REQUEST_SECONDS


class Measuring:
    """A node's metrics, by the client library itself."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = {"registry": self.registry}
        self.requests = Counter(m.REQUESTS.name, "-", m.REQUESTS.labels, **labels)
        self.timed = Histogram(TIMED.name, "-", TIMED.labels, buckets=TIMED.buckets, **labels)

    def scrape(self, at_s: float) -> Scrape:
        return parse(generate_latest(self.registry).decode(), at_s)


def test_rates_are_of_the_time_between() -> None:
    node = Measuring()
    node.requests.labels("Search", "0").inc(100)
    before = node.scrape(10.0)
    node.requests.labels("Search", "0").inc(30)
    node.requests.labels("Insert", "0").inc(10)
    now = node.scrape(14.0)
    assert rate(before, now, m.REQUESTS) == pytest.approx(10.0)
    assert rate(before, now, m.REQUESTS, method="Search") == pytest.approx(7.5)
    assert rate(before, now, m.READER_REQUESTS) is None
    assert rate(now, now, m.REQUESTS) is None


def test_a_node_that_was_restarted_counts_from_nothing() -> None:
    old, new = Measuring(), Measuring()
    old.requests.labels("Search", "0").inc(1000)
    new.requests.labels("Search", "0").inc(8)
    assert rate(old.scrape(0.0), new.scrape(2.0), m.REQUESTS) == pytest.approx(4.0)


def test_quantiles_are_of_what_happened_between() -> None:
    node = Measuring()
    for _ in range(1000):
        node.timed.labels("Search").observe(9.0)
    before = node.scrape(0.0)
    for _ in range(99):
        node.timed.labels("Search").observe(0.0007)
    node.timed.labels("Search").observe(0.07)
    node.timed.labels("Insert").observe(2.0)
    now = node.scrape(1.0)
    half = quantile(before, now, TIMED, 0.5, method="Search")
    assert half is not None
    assert 0.0005 < half < 0.001
    worst = quantile(before, now, TIMED, 1.0, method="Search")
    assert worst == pytest.approx(0.1)
    assert quantile(before, before, TIMED, 0.5) is None
    assert quantile(before, now, m.FLUSH_SECONDS, 0.5) is None


def test_what_is_slower_than_every_bucket_counts_as_the_last() -> None:
    node = Measuring()
    before = node.scrape(0.0)
    node.timed.labels("Search").observe(1e6)
    assert quantile(before, node.scrape(1.0), TIMED, 0.99) == TIMED.buckets[-1]
