"""Who is told how far a backup or a restore is."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Told on the loop's thread; must not wait."""

    def total(self, size_bytes: int) -> None:
        """How many bytes there are in all, as far as is known."""

    def advance(self, count: int) -> None:
        """Further bytes are done."""

    def doing(self, what: str) -> None:
        """What is being done from here on."""


class Unwatched:
    """For when nobody wants to know."""

    def total(self, size_bytes: int) -> None:
        pass

    def advance(self, count: int) -> None:
        pass

    def doing(self, what: str) -> None:
        pass
