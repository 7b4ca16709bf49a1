"""Conditions on JSON values: lists of Python values to lists of True, False and None.

Invariant: agrees with `semantics` value by value; the loops are specialised by what the filter
compares with, because they run over every row of a segment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mishards.expr.ast import Value
from mishards.expr.semantics import (
    ANY_TEXT,
    ORDER,
    compare,
    contains,
    is_number,
    like,
    like_parts,
    plain,
)

Found = list[bool | None]
Test = Callable[[list[Any]], Found]


def compare_test(operator: str, constant: Value) -> Test:
    """`value operator constant` for each value."""
    holds = ORDER[operator]
    if is_number(constant):
        numbers = (int, float)
        return lambda values: [
            holds(value, constant) if type(value) in numbers else None for value in values
        ]
    if isinstance(constant, str | bool):
        kind = type(constant)
        return lambda values: [
            holds(value, constant) if type(value) is kind else None for value in values
        ]
    wanted = plain(constant)
    return lambda values: [compare(operator, value, wanted) for value in values]


def member_test(constants: tuple[Value, ...]) -> Test:
    """Whether each value equals one of the constants; unknown where none is of its class."""
    by_class: dict[type, set[Any]] = {}
    lists: list[Any] = []
    for constant in constants:
        if isinstance(constant, tuple):
            lists.append(plain(constant))
        else:
            by_class.setdefault(float if is_number(constant) else type(constant), set()).add(
                constant
            )
    if float in by_class:
        by_class[int] = by_class[float]

    def test(value: Any) -> bool | None:
        if value is None:
            return None
        if not constants:
            return False
        kind = type(value)
        if kind is list:
            return any(compare("==", value, item) for item in lists) if lists else None
        known = by_class.get(kind)
        return None if known is None else value in known

    return lambda values: list(map(test, values))


def like_test(pattern: str) -> Test:
    """Whether each text matches a pattern; unknown for what is no text."""
    parts = like_parts(pattern)
    if parts and parts[-1] is ANY_TEXT and all(isinstance(part, str) for part in parts[:-1]):
        prefix = "".join(parts[:-1])
        return lambda values: [
            value.startswith(prefix) if type(value) is str else None for value in values
        ]
    return lambda values: [like(value, parts) for value in values]


def contains_test(constants: tuple[Value, ...], every: bool) -> Test:
    """Whether each list holds all, or any, of the constants; unknown for what is no list."""
    wanted = [plain(constant) for constant in constants]
    judge = all if every else any

    def test(values: list[Any]) -> bool:
        # Python's `in` finds all that is equal, and True where 1 is looked for: a hit is tried
        # again with care, a miss is none.
        return judge(
            want in values and (type(want) is str or contains(values, [want], every=True) is True)
            for want in wanted
        )

    return lambda values: [test(value) if type(value) is list else None for value in values]
