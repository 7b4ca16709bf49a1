"""What contract suites ask of a server that they take away and bring back."""

from __future__ import annotations

from typing import Protocol

LONGEST_S = 30.0
"""How long a call may take that finds no server: a limit for slow machines, far from the rule."""


class Outage(Protocol):
    """A server of `testing.services`, or whatever stands for one. Every method waits."""

    def stop(self) -> None:
        """End it gently; data stays."""

    def kill(self) -> None:
        """End it at once; data stays."""

    def start(self) -> object:
        """Start it again, on the same data and at the same address."""

    def freeze(self) -> None:
        """Let it take connections and answer nothing."""

    def thaw(self) -> None:
        """Undo `freeze`."""
