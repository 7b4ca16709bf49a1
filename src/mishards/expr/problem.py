"""A fault in a filter at a place in its text, and how it is shown.

Invariant: inside this package faults travel as `Problem`; `compile_filter` alone turns them into
`FilterError`, so parser and type check need not know the text.
"""

from __future__ import annotations

from mishards.core.errors import FilterError

_SHOWN = 60
"""Characters shown on each side of the fault; filters may be a megabyte long."""


class Problem(Exception):
    """What is wrong, and where.

    Attributes:
        position: offset in characters from the start of the filter's text.
    """

    def __init__(self, position: int, message: str) -> None:
        super().__init__(message)
        self.position = position
        self.message = message


def filter_error(text: str, problem: Problem) -> FilterError:
    """The error for the caller: the message, the line of the fault, and a caret under it."""
    position = min(max(problem.position, 0), len(text))
    start = max(text.rfind("\n", 0, position) + 1, position - _SHOWN)
    end = text.find("\n", position)
    end = min(len(text) if end < 0 else end, position + _SHOWN)
    before = "…" if start > 0 and text[start - 1] != "\n" else ""
    after = "…" if end < len(text) and text[end] != "\n" else ""
    line = before + text[start:end].replace("\t", " ") + after
    caret = " " * (len(before) + position - start) + "^"
    return FilterError(f"cannot parse expression: {problem.message}\n  {line}\n  {caret}")
