"""The list of all checks, as `docs/doctor.md` has it."""

from __future__ import annotations

from mishards.doctor.run import all_checks


def check_table() -> str:
    """All checks as a table in markdown."""
    lines = ["| check | what it asks | why it matters |", "|---|---|---|"]
    lines += [f"| `{c.name}` | {c.asks} | {c.why} |" for c in all_checks()]
    return "\n".join(lines) + "\n"
