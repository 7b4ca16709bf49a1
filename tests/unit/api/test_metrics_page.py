"""The page of metrics is what Prometheus's own parser reads."""

from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families as families

from mishards.api.http.metrics import metrics_routes, written
from mishards.core.runtime import SystemRuntime
from mishards.observability.instruments import Metrics
from mishards.observability.metrics import (
    COMMIT_MUTATIONS,
    DECLARED,
    MEMORY,
    REQUESTS,
    CounterOf,
    HistogramOf,
)

OPEN = "application/openmetrics-text; version=1.0.0"


def everything():
    """Metrics in which every declared one has a value."""
    metrics = Metrics()
    for one in DECLARED:
        labels = ("x",) * len(one.labels)
        if isinstance(one, HistogramOf):
            metrics.histogram(one, *labels).observe(1)
        elif isinstance(one, CounterOf):
            metrics.counter(one, *labels).inc()
        else:
            metrics.gauge(one, *labels).set(1)
    return metrics


def test_every_declared_metric_is_exposed_and_no_other():
    page, kind = written(everything().values(), "")
    assert kind.startswith("text/plain")
    found = {family.name: family for family in families(page.decode())}
    own = {name for name in found if not name.startswith("process_")}
    assert own == {metric.name.removesuffix("_total") for metric in DECLARED}
    for metric in DECLARED:
        assert found[metric.name.removesuffix("_total")].documentation == metric.help


def test_open_metrics_are_given_where_they_are_asked_for():
    page, kind = written(everything().values(), OPEN)
    assert kind.startswith("application/openmetrics-text")
    found = {family.name for family in open_families(page.decode())}
    assert {metric.name.removesuffix("_total") for metric in DECLARED} <= found


def test_values_and_buckets_come_through():
    metrics = Metrics()
    metrics.counter(REQUESTS, "Search", "0").inc(3)
    for value in (1, 2, 2, 5_000):
        metrics.histogram(COMMIT_MUTATIONS).observe(value)
    page, _ = written(metrics.values(), "")
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in families(page.decode())
        for sample in family.samples
    }
    assert samples["mishards_requests_total", "0", "Search"] == 3
    name = COMMIT_MUTATIONS.name
    assert [samples[f"{name}_bucket", le] for le in ("1.0", "2.0", "256.0", "+Inf")] == [1, 3, 3, 4]
    assert (samples[f"{name}_count",], samples[f"{name}_sum",]) == (4, 5_005)


def test_the_memory_of_the_process_stands_beside_what_a_role_holds():
    metrics = Metrics()
    metrics.gauge(MEMORY, "growing_rows").set(7)
    page, _ = written(metrics.values(), "")
    (family,) = [f for f in families(page.decode()) if f.name == MEMORY.name]
    found = {sample.labels["kind"]: sample.value for sample in family.samples}
    assert found["growing_rows"] == 7
    assert found["anonymous"] > 1_000_000


def test_a_node_that_does_not_measure_itself_has_no_page():
    runtime = SystemRuntime(threads=1)
    assert metrics_routes(Metrics(enabled=False), runtime) == []
    assert [route.path for route in metrics_routes(Metrics(), runtime)] == ["/metrics"]
