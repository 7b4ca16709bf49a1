"""What operators mean on single Python values; None is unknown.

The row evaluator stands on this alone; the Arrow evaluator uses it for JSON, and where a vector
operation cannot tell (an integer overflow somewhere in a column).

Invariants: integers are 64 bits wide, with results outside unknown; results that are no finite
number are unknown; nothing here raises.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

from mishards.expr.ast import Step, Value

INT64_MIN = -(1 << 63)
INT64_MAX = (1 << 63) - 1

ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
MIRRORED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


def plain(value: Value) -> Any:
    """A constant as rows hold values: lists where the plan has tuples."""
    return [plain(item) for item in value] if isinstance(value, tuple) else value


def is_number(value: Any) -> bool:
    return type(value) is int or type(value) is float


def comparable(left: Any, right: Any) -> bool:
    """Whether two values are of one class: numbers, texts, booleans, or lists."""
    if is_number(left):
        return is_number(right)
    return type(left) is type(right) and isinstance(left, bool | str | list)


def equal(left: Any, right: Any) -> bool:
    """Deep equality in which a boolean is never a number."""
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(equal, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(equal(left[key], right[key]) for key in left)
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    return bool(left == right)


def compare(operator_: str, left: Any, right: Any) -> bool | None:
    """`left operator right`; unknown where a side is unknown or the classes differ."""
    if left is None or right is None or not comparable(left, right):
        return None
    if isinstance(left, list):
        return equal(left, right) is (operator_ == "==")
    return ORDER[operator_](left, right)


def arithmetic(operator_: str, left: Any, right: Any) -> int | float | None:
    """`left operator right` on numbers, as C computes it.

    Integers give integers, `/` cutting towards zero and `%` with the sign of the left side, but
    `**`, which always gives a floating number. `%` is for integers only.
    """
    if not is_number(left) or not is_number(right):
        return None
    if operator_ == "**":
        return _power(float(left), float(right))
    if type(left) is int and type(right) is int:
        return _integer(operator_, left, right)
    return _floating(operator_, float(left), float(right))


def _integer(operator_: str, left: int, right: int) -> int | None:
    if operator_ in "/%":
        if right == 0:
            return None
        result = abs(left) // abs(right)
        result = result if (left < 0) == (right < 0) else -result
        if operator_ == "%":
            result = left - result * right
    else:
        result = _PLAIN[operator_](left, right)
    return result if INT64_MIN <= result <= INT64_MAX else None


def _floating(operator_: str, left: float, right: float) -> float | None:
    if operator_ == "%" or (operator_ == "/" and right == 0):
        return None
    result = left / right if operator_ == "/" else _PLAIN[operator_](left, right)
    return result if math.isfinite(result) else None


_PLAIN: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
}


def _power(left: float, right: float) -> float | None:
    try:
        result = math.pow(left, right)
    except (ValueError, OverflowError):
        return None
    return result if math.isfinite(result) else None


def contains(values: Any, wanted: Sequence[Any], *, every: bool) -> bool | None:
    """Whether a list holds all, or any, of `wanted`; unknown when it is no list."""
    if not isinstance(values, list):
        return None
    found = (any(equal(value, want) for value in values) for want in wanted)
    return all(found) if every else any(found)


def follow(value: Any, path: Sequence[Step]) -> Any:
    """What lies at a path of a JSON value; None when nothing or null does.

    As in a JSON pointer, a number may name a key of an object, and a text of digits a position.
    """
    for step in path:
        if isinstance(value, dict):
            value = value.get(step if isinstance(step, str) else str(step))
        elif isinstance(value, list):
            index = _index(step)
            value = value[index] if index is not None and index < len(value) else None
        else:
            return None
    return value


def _index(step: Step) -> int | None:
    if isinstance(step, int):
        return step
    return int(step) if step.isascii() and step.isdigit() and len(step) < 19 else None


ANY_TEXT = object()
ANY_CHARACTER = object()


def like_parts(pattern: str) -> list[Any]:
    """A pattern as characters, `ANY_TEXT` and `ANY_CHARACTER`."""
    parts: list[Any] = []
    characters = iter(pattern)
    for character in characters:
        if character == "%":
            parts.append(ANY_TEXT)
        elif character == "_":
            parts.append(ANY_CHARACTER)
        elif character == "\\":
            parts.append(next(characters, "\\"))
        else:
            parts.append(character)
    return parts


def like(text: Any, parts: Sequence[Any]) -> bool | None:
    """Whether a text matches a pattern; at most len(text) × len(parts) steps."""
    if not isinstance(text, str):
        return None
    at = part = 0
    resume_at, resume_part = 0, -1
    while at < len(text):
        wanted = parts[part] if part < len(parts) else None
        if wanted is ANY_TEXT:
            resume_at, resume_part = at, part
            part += 1
        elif wanted is ANY_CHARACTER or wanted == text[at]:
            at += 1
            part += 1
        elif resume_part >= 0:
            resume_at += 1
            at, part = resume_at, resume_part + 1
        else:
            return False
    return all(rest is ANY_TEXT for rest in parts[part:])
