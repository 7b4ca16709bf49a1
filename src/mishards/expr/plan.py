"""The filter as checked: what the evaluators and the pruning read.

Invariants: every name is a column of the schema and every literal fits what it meets, rounded to
the column's precision; a literal that meets a column stands on the right; nodes are frozen and
nest at most a few levels more than the syntax tree.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator

import msgspec

from mishards.core.schema import DataType
from mishards.expr.ast import Step, Value


class Kind(enum.Enum):
    """What a value is, as far as operators care."""

    BOOL = "BOOL"
    INTEGER = "integer"
    FLOAT = "floating number"
    TEXT = "VARCHAR"
    ARRAY = "ARRAY"
    JSON = "JSON"


_KINDS = {
    DataType.BOOL: Kind.BOOL,
    DataType.INT8: Kind.INTEGER,
    DataType.INT16: Kind.INTEGER,
    DataType.INT32: Kind.INTEGER,
    DataType.INT64: Kind.INTEGER,
    DataType.FLOAT: Kind.FLOAT,
    DataType.DOUBLE: Kind.FLOAT,
    DataType.VARCHAR: Kind.TEXT,
    DataType.ARRAY: Kind.ARRAY,
    DataType.JSON: Kind.JSON,
}


def kind_of(data_type: DataType) -> Kind:
    """The kind of a scalar type."""
    return _KINDS[data_type]


class Plan(msgspec.Struct, frozen=True):
    """Root of all nodes."""


class Operand(Plan, frozen=True):
    """A value per row, or unknown."""

    kind: Kind


class Literal(Operand, frozen=True):
    value: Value


class Column(Operand, frozen=True):
    """A scalar or array column.

    Attributes:
        type: of the column; for an array, of its elements.
    """

    name: str
    type: DataType


class Element(Operand, frozen=True):
    """`column[index]`; unknown where the array is shorter. `type` is the elements' type."""

    name: str
    index: int
    type: DataType


class JsonPath(Operand, frozen=True):
    """A place in a JSON column; unknown where there is none, or null."""

    name: str
    path: tuple[Step, ...]


class Length(Operand, frozen=True):
    """Number of elements of an array; unknown for JSON that is no list."""

    source: Column | JsonPath


class Arithmetic(Operand, frozen=True):
    """`left operator right`, see `semantics.arithmetic`."""

    operator: str
    left: Operand
    right: Operand


class Condition(Plan, frozen=True):
    """True, false or unknown per row."""


class Always(Condition, frozen=True):
    value: bool


class Compare(Condition, frozen=True):
    operator: str
    left: Operand
    right: Operand


class Member(Condition, frozen=True):
    """The item equals one of `values`."""

    item: Operand
    values: tuple[Value, ...]


class Like(Condition, frozen=True):
    """The item matches the pattern: `%` any text, `_` one character, `\\` takes away meaning."""

    item: Operand
    pattern: str


class IsNull(Condition, frozen=True):
    """Never unknown."""

    source: Column | Element | JsonPath


class Contains(Condition, frozen=True):
    """The array holds all (or any) of `values`; unknown for JSON that is no list."""

    source: Column | JsonPath
    values: tuple[Value, ...]
    every: bool


class And(Condition, frozen=True):
    terms: tuple[Condition, ...]


class Or(Condition, frozen=True):
    terms: tuple[Condition, ...]


class Not(Condition, frozen=True):
    term: Condition


def nodes(root: Plan) -> Iterator[Plan]:
    """All nodes of a plan, parents first."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        yield node
        for name in node.__struct_fields__:
            value = getattr(node, name)
            if isinstance(value, Plan):
                waiting.append(value)
            elif name == "terms":
                waiting.extend(value)
