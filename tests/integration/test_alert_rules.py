"""The rules of `deploy/prometheus`: valid, tried one by one, explained, of metrics that exist."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mishards.core.errors import MishardsError
from mishards.testing.rule_times import scaled
from mishards.testing.services.prometheus import Alertmanager, Prometheus

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "prometheus"
RULES = (FOLDER / "rules.yml").read_text(encoding="utf-8")
GROUPS = yaml.safe_load(RULES)["groups"]
ALERTS = {rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule}
TRIED = yaml.safe_load((FOLDER / "tests" / "alerts.yml").read_text(encoding="utf-8"))["tests"]


def run(*command: str) -> str:
    """What a program that fails says; nothing where it does not."""
    done = subprocess.run(
        command, cwd=FOLDER, capture_output=True, text=True, check=False, timeout=100
    )
    return f"{done.stdout}{done.stderr}" if done.returncode else ""


@pytest.mark.usefixtures("prometheus")
def test_promtool_tries_every_rule() -> None:
    assert run("promtool", "check", "rules", "rules.yml") == ""
    assert run("promtool", "test", "rules", "tests/alerts.yml") == ""


@pytest.mark.usefixtures("prometheus")
def test_promtool_would_find_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(RULES.replace("== 0", "== 7"))
    text = (FOLDER / "tests" / "alerts.yml").read_text(encoding="utf-8")
    one = {**yaml.safe_load(text), "tests": [t for t in TRIED if t["name"] == "MishardsNoLeader"]}
    (tmp_path / "one.yml").write_text(yaml.safe_dump({**one, "rule_files": ["rules.yml"]}))
    assert "MishardsNoLeader" in run("promtool", "test", "rules", str(tmp_path / "one.yml"))


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_is_tried_when_it_fires_and_when_it_is_silent(alert: str) -> None:
    asked = [one for test in TRIED if test["name"] == alert for one in test["promql_expr_test"]]
    assert all(f'"{alert}"' in one["expr"] for one in asked)
    assert any(one["exp_samples"] for one in asked)
    assert any(not one["exp_samples"] for one in asked)


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_says_how_bad_it_is_and_what_to_do(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "description", "runbook"}
    assert rule["annotations"]["runbook"] == f"docs/alerts.md#{alert.lower()}"
    page = (ROOT / "docs" / "alerts.md").read_text(encoding="utf-8")
    assert f"### {alert}\n" in page


def test_the_page_explains_no_alert_that_is_not_there() -> None:
    page = (ROOT / "docs" / "alerts.md").read_text(encoding="utf-8")
    assert re.findall(r"^### (\w+)$", page, re.MULTILINE) == list(ALERTS)


def errors(kind: type[MishardsError] = MishardsError) -> Iterator[type[MishardsError]]:
    yield kind
    for one in kind.__subclasses__():
        yield from errors(one)


def test_the_codes_of_failures_are_those_of_which_no_caller_is_guilty() -> None:
    (pattern,) = set(re.findall(r'code=~"([^"]+)"', RULES))
    for kind in errors():
        counted = re.fullmatch(pattern, str(kind.code)) is not None
        assert counted is not kind.input_fault, kind
    assert re.fullmatch(pattern, "0") is None


def test_the_configurations_are_accepted(prometheus: Prometheus) -> None:
    """Debian's build finds no Pods by itself, so how they are found is left out for it."""
    example = (FOLDER / "prometheus.yml").read_text(encoding="utf-8")
    prometheus.configure(rules=RULES, prometheus=example)
    found: dict[str, Any] = yaml.safe_load((FOLDER / "kubernetes.yml").read_text(encoding="utf-8"))
    (job,) = found["scrape_configs"]
    (pods,) = job.pop("kubernetes_sd_configs")
    assert pods["role"] == "pod"
    prometheus.configure(prometheus=yaml.safe_dump(found))
    with pytest.raises(AssertionError, match="unmarshal"):
        prometheus.configure(prometheus=example + "    unknown: 1\n")


def test_the_configuration_of_alertmanager_is_accepted(alertmanager: Alertmanager) -> None:
    text = (FOLDER / "alertmanager.yml").read_text(encoding="utf-8")
    alertmanager.configure(alertmanager=text)
    with pytest.raises(AssertionError, match="undefined receiver"):
        alertmanager.configure(alertmanager=text.replace("receiver: look-now", "receiver: other"))


def test_times_of_rules_are_shortened_and_nothing_else() -> None:
    text = "for: 5m\nexpr: rate(a_5m[10m]) + b offset 1h > 5 # 2m"
    quick_text = "for: 1s\nexpr: rate(a_5m[10s]) + b offset 60s > 5 # 2m"
    assert scaled(text, waits=300, windows=60) == quick_text
    assert scaled("for: 30s\nx[90s:15s]", waits=60, windows=60) == "for: 500ms\nx[1500ms:250ms]"
    plain, quick = yaml.safe_load(RULES), yaml.safe_load(scaled(RULES, waits=60, windows=60))
    for group, shortened in zip(plain["groups"], quick["groups"], strict=True):
        for rule, short in zip(group["rules"], shortened["rules"], strict=True):
            assert ("for" in rule) is ("for" in short)
            assert {**rule, "for": "", "expr": ""} == {**short, "for": "", "expr": ""}
            assert rule.get("for", "0m") != short.get("for", "")
            assert re.sub(r"\[\w+\]", "", rule["expr"]) == re.sub(r"\[\w+\]", "", short["expr"])
