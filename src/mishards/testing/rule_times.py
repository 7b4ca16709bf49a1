"""The times in rules of Prometheus, shortened: for tests that cannot wait for minutes."""

from __future__ import annotations

import re
from pathlib import Path

RULES = Path(__file__).resolve().parents[3] / "deploy" / "prometheus" / "rules.yml"
"""The rules of a checkout."""

_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_WAITS = re.compile(r"(?m)^\s*for: \w+$")
_WINDOWS = re.compile(r"\[[\w:]+\]|\boffset \d+\w+")
_DURATION = re.compile(r"(?<![\w.])(\d+)(ms|s|m|h|d)\b")


def scaled(rules: str, *, waits: int, windows: int) -> str:
    """The same rules with what they wait for divided, and what they look back on."""
    return _divided(_WINDOWS, _divided(_WAITS, rules, waits), windows)


def _divided(places: re.Pattern[str], text: str, divisor: int) -> str:
    def shorter(found: re.Match[str]) -> str:
        milliseconds = int(found[1]) * _MS[found[2]] // divisor
        return f"{milliseconds}ms" if milliseconds % 1000 else f"{milliseconds // 1000}s"

    return places.sub(lambda place: _DURATION.sub(shorter, place[0]), text)
