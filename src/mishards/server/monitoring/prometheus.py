"""A complete configuration of Prometheus.

Invariant: whatever a node is called, the file says that and nothing else: texts are quoted as JSON,
which is YAML.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import msgspec

from mishards.server.monitoring.targets import ScrapeTarget

JOB = "mishards"
"""What the rules and the board select."""


class PrometheusPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a file is made from.

    Attributes:
        targets: nodes that are listed in the file.
        targets_file: a file of targets instead, which Prometheus reads again when it changes.
        rules: files of rules; may have `*` in their names.
        alertmanagers: addresses.
        token_file: file with the token of the nodes' HTTP endpoints; empty for none.
        ca_file: authority of the certificates of those endpoints, where they speak TLS.
        interval: between two scrapes, and two evaluations of rules.
    """

    targets: tuple[ScrapeTarget, ...] = ()
    targets_file: str = ""
    rules: tuple[str, ...] = ()
    alertmanagers: tuple[str, ...] = ()
    token_file: str = ""
    ca_file: str = ""
    interval: str = "15s"


def prometheus_file(plan: PrometheusPlan) -> str:
    """The file as text; `promtool check config FILE` checks it."""
    lines = [
        "# Made by `mishards config prometheus`. To check it: promtool check config FILE",
        "global:",
        f"  scrape_interval: {plan.interval}",
        f"  evaluation_interval: {plan.interval}",
    ]
    if plan.rules:
        lines += ["rule_files:", *(f"  - {_quoted(path)}" for path in plan.rules)]
    if plan.alertmanagers:
        found = f"        - targets: {_list(plan.alertmanagers)}"
        lines += ["alerting:", "  alertmanagers:", "    - static_configs:", found]
    # Some metrics have a label `role`, and all nodes say who they are: these stay as they are said.
    lines += ["scrape_configs:", f"  - job_name: {JOB}", "    honor_labels: true"]
    if plan.ca_file:
        ca_file = f"      ca_file: {_quoted(plan.ca_file)}"
        lines += ["    scheme: https", "    tls_config:", ca_file]
    if plan.token_file:
        lines += ["    authorization:", f"      credentials_file: {_quoted(plan.token_file)}"]
    if plan.targets_file:
        lines += ["    file_sd_configs:", f"      - files: {_list([plan.targets_file])}"]
    else:
        lines.append("    static_configs:")
        for target in plan.targets:
            lines.append(f"      - targets: {_list([target.address])}")
            lines.append(f"        labels: {_map(target.labels)}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return json.dumps(text)


def _list(texts: Sequence[str]) -> str:
    return f"[{', '.join(map(_quoted, texts))}]"


def _map(texts: Mapping[str, str]) -> str:
    return f"{{{', '.join(f'{key}: {_quoted(text)}' for key, text in texts.items())}}}"
