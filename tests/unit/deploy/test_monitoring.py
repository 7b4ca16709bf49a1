"""Rules and board ask for what is declared, and the board is one that Grafana takes."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mishards.observability.metrics import DECLARED, HistogramOf

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"
BOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "mishards.json").read_text("utf-8"))
RULES = yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text("utf-8"))
TRIED = (DEPLOY / "prometheus" / "tests" / "alerts.yml").read_text("utf-8")
LABELS = {
    name: set(one.labels)
    for one in DECLARED
    for name in (
        [f"{one.name}_{part}" for part in ("bucket", "sum", "count")]
        if isinstance(one, HistogramOf)
        else [one.name]
    )
}
TARGETS = {"job", "instance", "cluster", "node", "roles", "le"}
UNITS = {"short", "reqps", "ops", "s", "bytes", "Bps", "percentunit"}
SELECTED = re.compile(r"(?<![\w:])(mishards_\w+)(?:\{([^}]*)\})?")
GROUPED = re.compile(r"by \(([^)]*)\)")


def expressions() -> Iterator[tuple[str, str]]:
    """Where it stands, and what is asked for."""
    for group in RULES["groups"]:
        for rule in group["rules"]:
            yield rule.get("alert") or rule["record"], rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def panels() -> list[dict[str, Any]]:
    return [panel for panel in BOARD["panels"] if panel["type"] != "row"]


@pytest.mark.parametrize(("place", "expression"), list(expressions()))
def test_what_is_asked_for_is_declared(place: str, expression: str) -> None:
    known = TARGETS | {"method", "log"}
    for name, selector in SELECTED.findall(expression):
        assert name in LABELS, name
        known |= LABELS[name]
        labels = set(re.findall(r"(\w+)(?:=~|!~|!=|=)", selector))
        assert labels <= LABELS[name] | TARGETS
    for grouped in GROUPED.findall(expression):
        assert {one.strip() for one in grouped.split(",")} <= known


def test_what_the_tests_of_rules_make_up_is_declared() -> None:
    for series in re.findall(r"series: '(mishards_\w+)\{([^}]*)\}'", TRIED):
        labels = set(re.findall(r"(\w+)=", series[1]))
        assert labels - TARGETS == LABELS[series[0]], series


def test_recorded_names_say_level_metric_and_operation() -> None:
    records = {
        rule["record"] for group in RULES["groups"] for rule in group["rules"] if "record" in rule
    }
    assert all(name.count(":") == 2 for name in records)
    used = {name for _, text in expressions() for name in re.findall(r"\w+:\w+:\w+", text)}
    assert used <= records


def test_the_board_has_its_rows_and_every_panel_a_place_of_its_own() -> None:
    rows = [panel["title"] for panel in BOARD["panels"] if panel["type"] == "row"]
    assert rows == ["Overview", "Search", "Writes", "Readers", "Log", "Storage"]
    numbers = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(numbers)) == len(numbers)
    for one, other in itertools.combinations((panel["gridPos"] for panel in BOARD["panels"]), 2):
        apart_x = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart_y = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert apart_x or apart_y
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in BOARD["panels"])


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_a_panel_is_one_that_grafana_draws(panel: dict[str, Any]) -> None:
    assert panel["type"] in ("timeseries", "stat", "table")
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["fieldConfig"]["overrides"] == []
    names = [target["refId"] for target in panel["targets"]]
    assert names == sorted(set(names))
    for target in panel["targets"]:
        assert 'cluster="$cluster"' in target["expr"]
        shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        grouped = {
            one.strip() for text in GROUPED.findall(target["expr"]) for one in text.split(",")
        }
        assert shown <= grouped | {"node"}
        assert target["datasource"]["uid"] == "$datasource"


def test_the_board_knows_the_variables_that_it_uses() -> None:
    variables = {one["name"] for one in BOARD["templating"]["list"]}
    used = set(re.findall(r"\$(?!__)\{?(\w+)", json.dumps(BOARD["panels"])))
    assert used == variables == {"datasource", "cluster", "node"}
    assert (BOARD["uid"], BOARD["title"]) == ("mishards", "Mishards")
    assert BOARD["schemaVersion"] >= 36
    assert "id" not in BOARD, "Grafana gives it one"
