"""What a look at a cluster comes to: checks, and what each of them found."""

from __future__ import annotations

import enum
from collections.abc import Iterable

import msgspec


class Level(enum.StrEnum):
    """How much a finding matters, the least first."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    FAILURE = "failure"

    @property
    def weight(self) -> int:
        return list(Level).index(self)


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one check found.

    Attributes:
        check: name of the check.
        seen: what there is.
        why: it matters; empty where all is well.
        todo: a command, a setting, or a step; empty where nothing is to be done.
    """

    check: str
    level: Level
    seen: str
    why: str = ""
    todo: str = ""


class Check(msgspec.Struct, frozen=True):
    """One thing that is looked at.

    Attributes:
        name: family and what is looked at, as `storage.space`.
        asks: the question that the check answers.
        why: the answer matters.
    """

    name: str
    asks: str
    why: str

    def ok(self, seen: str) -> Finding:
        return Finding(check=self.name, level=Level.OK, seen=seen)

    def note(self, seen: str, todo: str = "") -> Finding:
        """Worth knowing, and no fault."""
        return self._found(Level.NOTE, seen, todo)

    def warning(self, seen: str, todo: str) -> Finding:
        """All is served, but something is to be done before long."""
        return self._found(Level.WARNING, seen, todo)

    def failure(self, seen: str, todo: str) -> Finding:
        """Something does not work, or will not at the next start."""
        return self._found(Level.FAILURE, seen, todo)

    def _found(self, level: Level, seen: str, todo: str) -> Finding:
        return Finding(check=self.name, level=level, seen=seen, why=self.why, todo=todo)


class Trouble(msgspec.Struct, frozen=True):
    """Why something could not be looked at."""

    message: str


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """All that was found, the worst first.

    Attributes:
        cluster: its id; empty where that could not be read.
    """

    cluster: str
    seconds: float
    findings: tuple[Finding, ...]

    @property
    def worst(self) -> Level:
        """Of all levels found."""
        return max((f.level for f in self.findings), key=lambda x: x.weight, default=Level.OK)

    def of(self, *levels: Level) -> tuple[Finding, ...]:
        """The findings of some levels."""
        return tuple(finding for finding in self.findings if finding.level in levels)


def sorted_findings(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The worst first, those of one level in the order they came."""
    return tuple(sorted(findings, key=lambda finding: -finding.level.weight))
