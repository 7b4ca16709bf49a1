"""A checked filter on one row: the reference that the Arrow evaluator is held to.

Invariants: three-valued logic with None for unknown; plain recursion over the plan and no
cleverness, so that it can be believed by reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mishards.expr import plan, semantics
from mishards.expr.plan import Kind

Row = Mapping[str, Any]


def condition(node: plan.Condition, row: Row) -> bool | None:
    """Whether the condition holds for a row; None when that is unknown.

    Args:
        row: values by column, as Arrow gives them to Python; JSON parsed. A missing one is null.
    """
    match node:
        case plan.Always(value=value):
            return value
        case plan.And(terms=terms):
            return _all([condition(term, row) for term in terms])
        case plan.Or(terms=terms):
            return _not(_all([_not(condition(term, row)) for term in terms]))
        case plan.Not(term=term):
            return _not(condition(term, row))
        case plan.IsNull(source=source):
            return operand(source, row) is None
    return _leaf(node, row)


def _leaf(node: plan.Condition, row: Row) -> bool | None:
    match node:
        case plan.Compare(operator=operator, left=left, right=right):
            first, second = operand(left, row), operand(right, row)
            if {left.kind, right.kind} == {Kind.INTEGER, Kind.FLOAT} and None not in (
                first,
                second,
            ):
                first, second = float(first), float(second)
            return semantics.compare(operator, first, second)
        case plan.Member(item=item, values=values):
            return _member(operand(item, row), [semantics.plain(value) for value in values])
        case plan.Like(item=item, pattern=pattern):
            return semantics.like(operand(item, row), semantics.like_parts(pattern))
        case plan.Contains(source=source, values=values, every=every):
            wanted = [semantics.plain(value) for value in values]
            return semantics.contains(operand(source, row), wanted, every=every)
    raise AssertionError(node)


def operand(node: plan.Operand, row: Row) -> Any:
    """The operand's value for a row; None when unknown."""
    match node:
        case plan.Literal(value=value):
            return semantics.plain(value)
        case plan.Column(name=name):
            return row.get(name)
        case plan.Element(name=name, index=index):
            return semantics.follow(row.get(name), (index,))
        case plan.JsonPath(name=name, path=path):
            return semantics.follow(row.get(name), path)
        case plan.Length(source=source):
            found = operand(source, row)
            return len(found) if isinstance(found, list) else None
        case plan.Arithmetic(operator=operator, left=left, right=right):
            return semantics.arithmetic(operator, operand(left, row), operand(right, row))
    raise AssertionError(node)


def _not(value: bool | None) -> bool | None:
    return None if value is None else not value


def _all(values: list[bool | None]) -> bool | None:
    if False in values:
        return False
    return None if None in values else True


def _member(value: Any, values: list[Any]) -> bool | None:
    """As `==` with each value, joined by `or`; unknown for an unknown value in any list."""
    if value is None:
        return None
    results = [semantics.compare("==", value, wanted) for wanted in values]
    if True in results:
        return True
    return None if results and set(results) == {None} else False
