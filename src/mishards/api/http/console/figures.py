"""Numbers as people read them."""

from __future__ import annotations

from datetime import UTC, datetime

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def count(number: int) -> str:
    """`1,234,567`."""
    return f"{number:,}"


def large(number: int) -> str:
    """`1,234,567`, `482 million`, `4.82 billion`: what fits where there is little room."""
    if number < 100_000_000:
        return count(number)
    return f"{number / 1e6:.0f} million" if number < 999_500_000 else f"{number / 1e9:,.2f} billion"


def plural(number: int, one: str, many: str = "") -> str:
    """`1 row`, `2 rows`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def size(size_bytes: float) -> str:
    """`1.2 GB`: powers of 1,000."""
    for unit in _UNITS:
        if size_bytes < 999.5 or unit == _UNITS[-1]:
            break
        size_bytes /= 1000
    return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.3g} {unit}"


def duration(seconds: float) -> str:
    """`350 µs`, `12.3 ms`, `4.2 s`, `3 min`, `5 h`, `2 days`."""
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 0.9995:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 120:
        return f"{seconds:.3g} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"


def clock(unix_ms: int) -> str:
    """`21:04:05 UTC`."""
    return datetime.fromtimestamp(unix_ms / 1000, UTC).strftime("%H:%M:%S UTC")


def moment(unix_ms: int) -> str:
    """`2026-05-01 21:04:05 UTC`."""
    return datetime.fromtimestamp(unix_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
