"""Operands of a checked filter on Arrow columns.

Invariants: an operand of kind JSON comes as a list of Python values, None for unknown; any other
as an Arrow array, null for unknown, or as a Python number where it is a literal; arithmetic is on
int64 and float64 and agrees with `semantics.arithmetic`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mishards.core.columns import arrow_type
from mishards.core.ids import FieldId
from mishards.core.schema import DataType, FieldSchema, integer_range
from mishards.expr import plan
from mishards.expr.json_columns import Frame
from mishards.expr.plan import Kind
from mishards.expr.semantics import arithmetic

Values = Callable[[Frame], Any]

INT64 = pa.int64()
DOUBLE = pa.float64()
_NULLS = {INT64: pa.scalar(None, INT64), DOUBLE: pa.scalar(None, DOUBLE)}


@functools.cache
def scalar_type(data_type: DataType) -> pa.DataType:
    """The Arrow type of values of a scalar type."""
    return arrow_type(FieldSchema(id=FieldId(0), name="", type=data_type))


def operand_type(node: plan.Operand) -> pa.DataType:
    """The Arrow type of what an operand that is neither JSON nor a literal evaluates to."""
    if isinstance(node, plan.Column | plan.Element):
        return scalar_type(node.type)
    return INT64 if node.kind is Kind.INTEGER else DOUBLE


def fits_type(node: plan.Operand, value: Any) -> bool:
    """Whether the operand's own Arrow type can hold the constant."""
    if isinstance(node, plan.Column | plan.Element) and node.type.is_integer:
        low, high = integer_range(node.type)
        return bool(low <= value <= high)
    return True


def compile_operand(node: plan.Operand) -> Values:
    """A function from a frame to the operand's values."""
    match node:
        case plan.Literal(value=value):
            return lambda frame: value
        case plan.Column(name=name):
            return lambda frame: frame.columns[name]
        case plan.JsonPath(name=name, path=path):
            return lambda frame: frame.json(name, path)
        case plan.Element(name=name, index=index):
            return lambda frame: _element(frame.columns[name], index)
        case plan.Length(source=source):
            return _length(source)
        case plan.Arithmetic(kind=Kind.JSON, operator=operator, left=left, right=right):
            first, second = compile_operand(left), compile_operand(right)
            return lambda frame: _by_row(operator, first(frame), second(frame), frame.rows)
        case plan.Arithmetic(kind=kind, operator=operator, left=left, right=right):
            first, second = compile_operand(left), compile_operand(right)
            compute = _integers if kind is Kind.INTEGER else _floats
            return lambda frame: compute(operator, first(frame), second(frame), frame.rows)
    raise AssertionError(node)


def _element(lists: pa.Array, index: int) -> pa.Array:
    offsets = np.asarray(lists.offsets)
    inside = np.diff(offsets) > index
    if lists.null_count:
        inside &= lists.is_valid().to_numpy(zero_copy_only=False)
    # Rows outside point anywhere: the mask makes their position null, and so their value.
    return lists.values.take(pa.array(offsets[:-1] + np.int64(index), mask=~inside))


def _length(source: plan.Operand) -> Values:
    values = compile_operand(source)
    if source.kind is Kind.ARRAY:
        return lambda frame: pc.cast(pc.list_value_length(values(frame)), INT64)

    def lengths(frame: Frame) -> pa.Array:
        found = [len(value) if type(value) is list else None for value in values(frame)]
        return pa.array(found, INT64)

    return lengths


def as_type(values: Any, data_type: pa.DataType) -> Any:
    """An array cast, or a number made a scalar; integers beyond 2^53 round to the next double."""
    if isinstance(values, pa.Array):
        return values if values.type == data_type else pc.cast(values, data_type, safe=False)
    return pa.scalar(float(values) if data_type == DOUBLE else values, data_type)


_CHECKED = {"+": pc.add_checked, "-": pc.subtract_checked, "*": pc.multiply_checked}
_FLOATING = {
    "+": pc.add,
    "-": pc.subtract,
    "*": pc.multiply,
    "/": pc.divide,
    "**": pc.power,
}


def _integers(operator: str, left: Any, right: Any, rows: int) -> pa.Array:
    first, second = as_type(left, INT64), as_type(right, INT64)
    try:
        if operator in _CHECKED:
            return _CHECKED[operator](first, second)
        if isinstance(second, pa.Array):
            second = pc.if_else(pc.equal(second, 0), _NULLS[INT64], second)
        quotient = pc.divide_checked(first, second)
        if operator == "/":
            return quotient
        return pc.subtract_checked(first, pc.multiply_checked(quotient, second))
    except pa.ArrowInvalid:
        # Some row overflows; Arrow does not say which one.
        return pa.array(_by_row(operator, left, right, rows), INT64)


def _floats(operator: str, left: Any, right: Any, rows: int) -> pa.Array:
    result = _FLOATING[operator](as_type(left, DOUBLE), as_type(right, DOUBLE))
    return pc.if_else(pc.is_finite(result), result, _NULLS[DOUBLE])


def _by_row(operator: str, left: Any, right: Any, rows: int) -> list[Any]:
    pairs = zip(_listed(left, rows), _listed(right, rows), strict=True)
    return [arithmetic(operator, first, second) for first, second in pairs]


def _listed(values: Any, rows: int) -> list[Any]:
    if isinstance(values, list):
        return values
    if isinstance(values, pa.Array):
        return values.to_pylist()  # type: ignore[no-any-return]
    return [values] * rows
