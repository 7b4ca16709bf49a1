"""A checked filter on Arrow columns, all rows at once.

A plan is turned into nested functions once; constants are made Arrow values then. Conditions give
an Arrow boolean array with null for unknown, or a boolean scalar where rows do not matter.

Invariant: agrees with `row_eval` on every row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mishards.expr import arrow_json, plan
from mishards.expr.arrow_values import (
    DOUBLE,
    INT64,
    as_type,
    compile_operand,
    fits_type,
    operand_type,
)
from mishards.expr.ast import Value
from mishards.expr.json_columns import Frame, json_readers
from mishards.expr.plan import Kind
from mishards.expr.semantics import ANY_CHARACTER, ANY_TEXT, compare, like, like_parts, plain

Mask = np.ndarray[Any, np.dtype[np.bool_]]
Test = Callable[[Frame], Any]
ArrayTest = Callable[[pa.Array], pa.Array]

_COMPARE = {
    "==": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
_UNKNOWN = pa.scalar(None, pa.bool_())
_FEW = 16
"""Constants up to which comparing with each is cheaper than a set."""


def compile_mask(root: plan.Condition) -> Callable[[Mapping[str, pa.Array], int], Mask]:
    """A function from columns and their number of rows to a mask, True where the filter is."""
    test = _condition(root)
    readers = json_readers(root)

    def mask(columns: Mapping[str, pa.Array], rows: int) -> Mask:
        result = test(Frame(columns, rows, readers))
        if isinstance(result, pa.Scalar):
            return np.full(rows, result.as_py() is True)
        if result.null_count:
            result = pc.fill_null(result, False)
        found: Mask = result.to_numpy(zero_copy_only=False)
        return found

    return mask


def _condition(node: plan.Condition) -> Test:
    match node:
        case plan.Always(value=value):
            constant = pa.scalar(value)
            return lambda frame: constant
        case plan.And(terms=terms):
            return _joined(pc.and_kleene, terms)
        case plan.Or(terms=terms):
            return _joined(pc.or_kleene, terms)
        case plan.Not(term=term):
            inner = _condition(term)
            return lambda frame: pc.invert(inner(frame))
        case plan.Compare(left=left, operator=operator, right=plan.Literal(value=value)):
            return _compare_constant(operator, left, value)
        case plan.Compare(left=left, operator=operator, right=right):
            return _compare_columns(operator, left, right)
        case plan.Member(item=item, values=values):
            if item.kind is Kind.JSON:
                return _on_json(item, arrow_json.member_test(values))
            return _on_array(item, member_test(item, values))
        case plan.Like(item=item, pattern=pattern):
            if item.kind is Kind.JSON:
                return _on_json(item, arrow_json.like_test(pattern))
            return _on_array(item, like_test(pattern))
        case plan.Contains(source=source, values=values, every=every):
            if isinstance(source, plan.JsonPath):
                return _on_json(source, arrow_json.contains_test(values, every))
            return _on_array(source, _contains_test(source, values, every))
        case plan.IsNull(source=source):
            return _is_null(source)
    raise AssertionError(node)


def _joined(join: Callable[[Any, Any], Any], terms: tuple[plan.Condition, ...]) -> Test:
    first, *rest = map(_condition, terms)

    def test(frame: Frame) -> Any:
        result = first(frame)
        for term in rest:
            result = join(result, term(frame))
        return result

    return test


def _on_json(item: plan.Operand, test: arrow_json.Test) -> Test:
    values = compile_operand(item)
    return lambda frame: pa.array(test(values(frame)), pa.bool_())


def _on_array(item: plan.Operand, test: ArrayTest) -> Test:
    values = compile_operand(item)
    return lambda frame: test(values(frame))


def _is_null(source: plan.Operand) -> Test:
    if source.kind is Kind.JSON:
        return _on_json(source, lambda values: [value is None for value in values])
    return _on_array(source, pc.is_null)


def _compare_constant(operator: str, left: plan.Operand, value: Value) -> Test:
    if left.kind is Kind.JSON:
        return _on_json(left, arrow_json.compare_test(operator, value))
    if left.kind is Kind.ARRAY:
        wanted = plain(value)
        return _on_array(
            left,
            lambda lists: pa.array(
                [compare(operator, item, wanted) for item in lists.to_pylist()], pa.bool_()
            ),
        )
    return _on_array(left, constant_test(operator, left, value))


def constant_test(operator: str, item: plan.Operand, value: Value) -> ArrayTest:
    """`values operator value` for an array of the item's Arrow type (an array's elements)."""
    holds = _COMPARE[operator]
    if fits_type(item, value):
        constant = pa.scalar(value, operand_type(item))
        return lambda values: holds(values, constant)
    wide = pa.scalar(value, INT64)
    return lambda values: holds(as_type(values, INT64), wide)


def _compare_columns(operator: str, left: plan.Operand, right: plan.Operand) -> Test:
    holds = _COMPARE[operator]
    first, second = compile_operand(left), compile_operand(right)
    if operand_kinds := {left.kind, right.kind} & {Kind.INTEGER, Kind.FLOAT}:
        common = DOUBLE if Kind.FLOAT in operand_kinds else INT64
        return lambda frame: holds(as_type(first(frame), common), as_type(second(frame), common))
    return lambda frame: holds(first(frame), second(frame))


def member_test(item: plan.Operand, values: tuple[Value, ...]) -> ArrayTest:
    """Whether each value of an array of the item's Arrow type equals one of the constants."""
    fitting = [value for value in values if fits_type(item, value)]
    if item.kind is Kind.BOOL or (item.kind is Kind.FLOAT and len(fitting) <= _FEW):
        tests = [constant_test("==", item, value) for value in set(fitting)]
        return lambda array: _any_of(tests, array)
    if item.kind is Kind.FLOAT:
        # Arrow's sets tell 0.0 from -0.0; numpy's do not.
        numbers = np.array(fitting, dtype=np.float64)
        return lambda array: _known(
            array, pa.array(np.isin(array.to_numpy(zero_copy_only=False), numbers))
        )
    constants = pa.array(fitting, operand_type(item))
    return lambda array: _known(array, pc.is_in(array, value_set=constants))


def _any_of(tests: list[ArrayTest], array: pa.Array) -> pa.Array:
    result = _known(array, pa.array(np.zeros(len(array), dtype=np.bool_)))
    for test in tests:
        result = pc.or_kleene(result, test(array))
    return result


def _known(array: pa.Array, result: pa.Array) -> pa.Array:
    """The result with unknown where the array is null."""
    return pc.if_else(array.is_valid(), result, _UNKNOWN) if array.null_count else result


def like_test(pattern: str) -> ArrayTest:
    """Whether each text of an array matches a pattern; by the cheapest operation that can tell."""
    parts = like_parts(pattern)
    inner = parts
    starts = bool(inner) and inner[0] is ANY_TEXT
    inner = inner[1:] if starts else inner
    ends = bool(inner) and inner[-1] is ANY_TEXT
    inner = inner[:-1] if ends else inner
    if not all(isinstance(part, str) for part in inner):
        return _regex_test(parts)
    text = "".join(inner)
    if not text and (starts or ends):
        return lambda array: _known(array, pa.array(np.ones(len(array), dtype=np.bool_)))
    if starts and ends:
        return lambda array: pc.match_substring(array, text)
    if starts:
        return lambda array: pc.ends_with(array, text)
    if ends:
        return lambda array: pc.starts_with(array, text)
    constant = pa.scalar(text, pa.string())
    return lambda array: pc.equal(array, constant)


def _regex_test(parts: list[Any]) -> ArrayTest:
    shown = {ANY_TEXT: ".*", ANY_CHARACTER: "."}
    regex = "".join(re.escape(part) if isinstance(part, str) else shown[part] for part in parts)

    def test(array: pa.Array) -> pa.Array:
        try:
            return pc.match_substring_regex(array, rf"\A(?s:{regex})\z")
        except pa.ArrowInvalid:
            # RE2 refuses patterns that are too large for it.
            return pa.array([like(text, parts) for text in array.to_pylist()], pa.bool_())

    return test


def _contains_test(source: plan.Column, values: tuple[Value, ...], every: bool) -> ArrayTest:
    element = plan.Column(plan.kind_of(source.type), source.name, source.type)
    if not values:
        return lambda lists: _known(lists, pa.array(np.full(len(lists), every)))
    if every:
        tests = [constant_test("==", element, value) for value in values]
        return lambda lists: _holds(lists, tests)
    return lambda lists: _holds(lists, [member_test(element, values)])


def _holds(lists: pa.Array, tests: list[ArrayTest]) -> pa.Array:
    """Whether each list has, for every test, an element that passes it."""
    offsets = np.asarray(lists.offsets)
    start, end = int(offsets[0]), int(offsets[-1])
    elements = lists.values.slice(start, end - start)
    result = np.ones(len(lists), dtype=np.bool_)
    for test in tests:
        hits = pc.fill_null(test(elements), False).to_numpy(zero_copy_only=False)
        passed = np.concatenate(([0], np.cumsum(hits)))[offsets - start]
        result &= passed[1:] > passed[:-1]
    return _known(lists, pa.array(result))
