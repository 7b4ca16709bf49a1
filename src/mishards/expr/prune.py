"""Whether a segment may hold a row that a filter matches, from its columns' statistics.

Invariant: `may_match` is False only where no row can match. Each condition is answered as a
pair: it may be true for some row, it may be false for some row; `not` swaps them, and unknown
needs neither.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

from mishards.expr import plan
from mishards.expr.plan import Kind
from mishards.expr.semantics import ORDER, like_parts

Chances = tuple[bool, bool]

_BOTH: Chances = (True, True)
_NEITHER: Chances = (False, False)


class Statistics(Protocol):
    """What is known of a scalar column: least and greatest value (None when all are null)."""

    @property
    def low(self) -> Any: ...

    @property
    def high(self) -> Any: ...

    @property
    def nulls(self) -> int: ...


def may_match(root: plan.Condition, statistics: Mapping[str, Statistics], rows: int) -> bool:
    """Whether the filter may be true for a row.

    Args:
        statistics: by column; a column without any may hold everything.
    """
    return rows > 0 and _chances(root, statistics, rows)[0]


def _chances(node: plan.Condition, statistics: Mapping[str, Statistics], rows: int) -> Chances:
    match node:
        case plan.Always(value=value):
            return value, not value
        case plan.Not(term=term):
            true, false = _chances(term, statistics, rows)
            return false, true
        case plan.And(terms=terms):
            chances = [_chances(term, statistics, rows) for term in terms]
            return all(true for true, _ in chances), any(false for _, false in chances)
        case plan.Or(terms=terms):
            chances = [_chances(term, statistics, rows) for term in terms]
            return any(true for true, _ in chances), all(false for _, false in chances)
        case plan.IsNull(source=plan.Column(name=name)):
            known = statistics.get(name)
            return _BOTH if known is None else (known.nulls > 0, known.nulls < rows)
        case plan.Compare(
            operator=operator, left=plan.Column() as column, right=plan.Literal(value=value)
        ):
            return _decide(column, statistics, partial(_compare, column, operator, value))
        case plan.Member(item=plan.Column() as column, values=values):
            return _decide(column, statistics, partial(_member, column, values))
        case plan.Like(item=plan.Column() as column, pattern=pattern):
            return _decide(column, statistics, partial(_like, pattern))
    return _BOTH


def _decide(
    column: plan.Column,
    statistics: Mapping[str, Statistics],
    decide: Callable[[Any, Any], Chances],
) -> Chances:
    """What `decide` says of the column's bounds; without bounds, what follows from that."""
    known = statistics.get(column.name)
    if known is None or column.kind is Kind.ARRAY:
        return _BOTH
    low, high = known.low, known.high
    if low is None or high is None:
        return _NEITHER
    is_nan = low != low or high != high
    return _BOTH if is_nan else decide(low, high)


def _compare(column: plan.Column, operator: str, value: Any, low: Any, high: Any) -> Chances:
    if operator in ("==", "!="):
        true, false = low <= value <= high, not (low == value == high)
        if operator == "!=":
            true, false = false, true
    elif operator in ("<", "<="):
        true, false = ORDER[operator](low, value), not ORDER[operator](high, value)
    else:
        true, false = ORDER[operator](high, value), not ORDER[operator](low, value)
    if column.kind is Kind.FLOAT:
        # A NaN hides from the bounds; it differs from everything and is ordered with nothing.
        return (True, false) if operator == "!=" else (true, True)
    return true, false


def _member(column: plan.Column, values: tuple[Any, ...], low: Any, high: Any) -> Chances:
    constant = low == high and low in values and column.kind is not Kind.FLOAT
    return any(low <= value <= high for value in values), not constant


def _like(pattern: str, low: str, high: str) -> Chances:
    prefix = ""
    for part in like_parts(pattern):
        if not isinstance(part, str):
            break
        prefix += part
    return high >= prefix and low[: len(prefix)] <= prefix, True
