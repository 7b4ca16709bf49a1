"""Fitting a constant to what it meets: a column, an array's elements, a place in JSON.

Invariants: what comes out compares exactly with the stored values: an integer becomes a double
for a floating column, and a FLOAT column gets the constant rounded to single precision, as its
own values were.
"""

from __future__ import annotations

import ctypes
from typing import Any

from mishards.core.schema import DataType
from mishards.expr import plan
from mishards.expr.ast import Value
from mishards.expr.plan import Kind
from mishards.expr.problem import Problem
from mishards.expr.semantics import INT64_MAX, INT64_MIN

_MAX_TEMPLATE_DEPTH = 16

_ALLOWED = {
    Kind.BOOL: "true or false",
    Kind.INTEGER: "a 64-bit integer",
    Kind.FLOAT: "a number",
    Kind.TEXT: "a text in quotes",
    Kind.ARRAY: "a list",
    Kind.JSON: "a number, a text, a boolean or a list",
}


def show(value: Value) -> str:
    """A constant as a message shows it."""
    if isinstance(value, tuple):
        shown = ", ".join(map(show, value[:3]))
        return f"[{shown}{', …' if len(value) > 3 else ''}]"
    text = repr(value)
    return text if len(text) <= 40 else text[:40] + "…"


def describe(operand: plan.Operand) -> str:
    """An operand as a message shows it: what it is, its name and its type."""
    match operand:
        case plan.Literal(value=value):
            return f"the constant {show(value)}"
        case plan.Column(name=name, kind=Kind.ARRAY, type=element):
            return f"field {name!r} (ARRAY of {element.name})"
        case plan.Column(name=name, type=data_type):
            return f"field {name!r} ({data_type.name})"
        case plan.Element(name=name, index=index, type=element):
            return f"element {name}[{index}] ({element.name})"
        case plan.JsonPath(name=name, path=path):
            steps = "".join(f"[{step!r}]" for step in path)
            return f"{name}{steps} (JSON)"
        case plan.Length():
            return "array_length (integer)"
    return f"an arithmetic expression ({operand.kind.value})"


def fit(position: int, operand: plan.Operand, value: Value) -> Value:
    """The constant as it is compared with `operand`.

    Raises:
        Problem: it does not fit; names the field, its type and what is allowed.
    """
    data_type = operand.type if isinstance(operand, plan.Column | plan.Element) else None
    if operand.kind is Kind.ARRAY and isinstance(value, tuple) and data_type is not None:
        kind = plan.kind_of(data_type)
        fitted: list[Value | None] = [_fit(kind, data_type, item) for item in value]
        if None not in fitted:
            return tuple(item for item in fitted if item is not None)
    elif operand.kind is not Kind.ARRAY:
        single = _fit(operand.kind, data_type, value)
        if single is not None:
            return single
    raise Problem(
        position,
        f"{describe(operand)} cannot be compared with {show(value)}; "
        f"{_ALLOWED[operand.kind]} is allowed",
    )


def fit_element(position: int, source: plan.Column | plan.JsonPath, value: Value) -> Value:
    """The constant as it is looked for in an array or a JSON list.

    Raises:
        Problem: it does not fit the elements.
    """
    if isinstance(source, plan.JsonPath):
        return fit(position, source, value)
    kind = plan.kind_of(source.type)
    fitted = _fit(kind, source.type, value)
    if fitted is None:
        raise Problem(
            position,
            f"{describe(source)} cannot hold {show(value)}; {_ALLOWED[kind]} is allowed",
        )
    return fitted


def _fit(kind: Kind, data_type: DataType | None, value: Value) -> Value | None:
    if type(value) is int and not INT64_MIN <= value <= INT64_MAX:
        return None
    match kind:
        case Kind.BOOL:
            return value if isinstance(value, bool) else None
        case Kind.INTEGER:
            return value if type(value) is int else None
        case Kind.FLOAT if type(value) in (int, float):
            number = float(value)  # type: ignore[arg-type]
            return ctypes.c_float(number).value if data_type is DataType.FLOAT else number
        case Kind.TEXT:
            return value if isinstance(value, str) else None
        case Kind.JSON:
            return value
    return None


def template_value(position: int, name: str, value: Any, depth: int = 0) -> Value:
    """A template's value as a constant; lists become tuples.

    Raises:
        Problem: it is of another type, no finite number, or text that UTF-8 cannot hold.
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float) and value - value == 0:
        return float(value)
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Problem(position, f"template {{{name}}} is text with a surrogate") from None
        return str(value)
    if isinstance(value, list | tuple) and depth < _MAX_TEMPLATE_DEPTH:
        return tuple(template_value(position, name, item, depth + 1) for item in value)
    shown = repr(value)[:40]
    raise Problem(
        position,
        f"template {{{name}}} is {shown} of type {type(value).__name__}; "
        "a boolean, an integer, a finite number, a text or a list of these is allowed",
    )
