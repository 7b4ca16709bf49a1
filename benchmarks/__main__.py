"""`python -m benchmarks`: run the suites and write one table as markdown and as JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.table import markdown

SUITES = (
    "search",
    "recall_guard",
    "hop",
    "engine",
    "memory",
    "tracing",
    "metrics",
    "compaction",
    "logs",
    "balancers",
    "takeover",
    "commit",
    "backup",
    "s3",
)
_RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks")
    parser.add_argument("suites", nargs="*", default=[], metavar="suite", help="all by default")
    parser.add_argument("--only", choices=SUITES, action="append", help="may be repeated")
    parser.add_argument("--quick", action="store_true", help="small data, short runs")
    chosen = parser.parse_args()
    if unknown := set(chosen.suites) - set(SUITES):
        parser.error(f"unknown suites {', '.join(unknown)}; there are {', '.join(SUITES)}")
    rows: list[dict[str, Any]] = []
    for name in [*chosen.suites, *(chosen.only or [])] or SUITES:
        rows += import_module(f"benchmarks.{name}").run(chosen.quick)
    machine = {"cores": os.cpu_count(), "platform": platform.platform()}
    when = datetime.now(UTC).isoformat(timespec="seconds")
    report = {"when": when, "quick": chosen.quick, "machine": machine, "rows": rows}
    _RESULTS.mkdir(exist_ok=True)
    (_RESULTS / "latest.json").write_text(json.dumps(report, indent=2) + "\n")
    table = markdown(rows)
    (_RESULTS / "latest.md").write_text(table)
    print(table)


if __name__ == "__main__":
    main()
