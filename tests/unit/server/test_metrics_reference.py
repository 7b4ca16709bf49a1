"""The metrics' reference page says what the code says."""

from pathlib import Path

from mishards.observability.metrics import DECLARED
from mishards.server.metrics_reference import metrics_page

PAGE = Path(__file__).resolve().parents[3] / "docs" / "metrics.md"


def test_the_page_equals_the_code():
    made = metrics_page()
    assert PAGE.read_text() == made, "run: mishards config metrics > docs/metrics.md"


def test_every_metric_has_one_line_under_one_heading_of_its_area():
    lines = metrics_page().splitlines()
    for metric in DECLARED:
        assert sum(line.startswith(f"| `{metric.name}` |") for line in lines) == 1
    headings = [line for line in lines if line.startswith("## ")]
    assert len(headings) == len(set(headings)) == len({metric.area for metric in DECLARED}) + 1
