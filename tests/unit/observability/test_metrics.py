"""Metrics are declared by Prometheus's conventions."""

import re

import pytest

from mishards.observability.metrics import (
    COLLECTION,
    DECLARED,
    CounterOf,
    GaugeOf,
    HistogramOf,
)

_WITHOUT_UNIT = {
    "mishards_writer_commit_mutations",
    "mishards_log_last_entry",
    "mishards_log_lag_entries",
}
"""Histograms and positions that count things."""
_LABELS = {
    *COLLECTION,
    *("code", "exporter", "folder", "kind", "log", "method", "node", "operation", "outcome"),
    *("path", "ready", "reason", "role", "roles", "stage", "state"),
    *("version", "python", "faiss"),
}
_NOT_BASE_UNITS = re.compile(r"_(ms|us|ns|millis\w*|kb|mb|gb|kib|mib|percent|minutes|hours)(_|$)")


def each(kind):
    return pytest.mark.parametrize(
        "metric", [m for m in DECLARED if isinstance(m, kind)], ids=lambda m: m.name
    )


@each(object)
def test_names_are_ours_in_lower_case_and_in_base_units(metric):
    assert re.fullmatch(r"mishards(_[a-z]+)+", metric.name)
    assert not _NOT_BASE_UNITS.search(metric.name)


@each(object)
def test_there_is_help_in_a_phrase(metric):
    assert len(metric.help) > 8
    assert not metric.help.endswith(".")
    assert "|" not in metric.help


@each(object)
def test_labels_have_few_values(metric):
    assert set(metric.labels) <= _LABELS
    assert len(set(metric.labels)) == len(metric.labels)
    assert not set(COLLECTION) & set(metric.labels) or metric.labels[:2] == COLLECTION


@each(CounterOf)
def test_what_only_rises_ends_in_total(metric):
    assert metric.name.endswith("_total")


@each((GaugeOf, HistogramOf))
def test_nothing_else_does_nor_in_what_prometheus_adds(metric):
    assert not re.search(r"_(total|count|sum|bucket|created)$", metric.name)


@each(HistogramOf)
def test_histograms_have_a_unit_and_rising_buckets(metric):
    assert metric.name in _WITHOUT_UNIT or re.search(r"_(seconds|bytes|ratio)$", metric.name)
    assert list(metric.buckets) == sorted(set(metric.buckets))
    assert 4 <= len(metric.buckets) <= 20


def test_no_name_is_declared_twice_nor_begins_a_histogram_s_series():
    names = [metric.name for metric in DECLARED]
    assert len(set(names)) == len(names)
    assert len(names) > 80
