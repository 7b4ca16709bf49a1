"""A broken invariant, as the checks report it."""

from __future__ import annotations

from typing import NamedTuple


class Violation(NamedTuple):
    """Which invariant, and where."""

    invariant: str
    what: str
    operation: str = ""

    def __str__(self) -> str:
        return f"{self.invariant}: {self.what}" + (f"\n    {self.operation}" * bool(self.operation))
