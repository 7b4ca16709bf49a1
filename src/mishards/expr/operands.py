"""The values in a filter: names found in the schema, constants folded, arithmetic checked.

Invariants: arithmetic on constants alone becomes a constant; division by a constant zero is
refused here, and by a zero in a column is unknown for that row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn, cast

from mishards.core.schema import DYNAMIC_FIELD, CollectionSchema, DataType, FieldSchema
from mishards.expr import ast, plan
from mishards.expr.fitting import describe, fit, template_value
from mishards.expr.plan import Kind
from mishards.expr.problem import Problem
from mishards.expr.semantics import INT64_MAX, INT64_MIN, arithmetic

_NUMBERS = (Kind.INTEGER, Kind.FLOAT, Kind.JSON)


class Operands:
    """Checks the values of one filter."""

    def __init__(self, schema: CollectionSchema, templates: Mapping[str, Any]) -> None:
        self._schema = schema
        self._templates = templates
        self._makers: dict[type[ast.Node], Callable[[Any], plan.Operand]] = {
            ast.Constant: lambda node: self._literal(node, node.value),
            ast.Items: self._items,
            ast.Template: self._template,
            ast.Name: self._name,
            ast.Sign: self._sign,
            ast.Binary: self._binary,
            ast.Call: self._length,
        }

    def check(self, node: ast.Node) -> plan.Operand:
        """The checked operand of a node.

        Raises:
            Problem: it is no value, or does not fit; says what is allowed.
        """
        make = self._makers.get(type(node))
        if make is None:
            raise Problem(node.position, "a condition stands where a value is expected")
        return make(node)

    def _literal(self, node: ast.Node, value: ast.Value) -> plan.Literal:
        if isinstance(value, tuple):
            integers = [item for item in value if type(item) is int]
            low, high = min(integers, default=0), max(integers, default=0)
            kind = Kind.ARRAY
        else:
            kinds = {bool: Kind.BOOL, int: Kind.INTEGER, float: Kind.FLOAT, str: Kind.TEXT}
            low = high = value if type(value) is int else 0
            kind = kinds[type(value)]
        # 2^63 itself passes here so that its negation can be written; `fit` refuses it.
        if low < INT64_MIN or high > INT64_MAX + 1:
            worst = low if low < INT64_MIN else high
            raise Problem(node.position, f"{worst} is outside the 64-bit integers")
        return plan.Literal(kind, value)

    def _template(self, node: ast.Template) -> plan.Operand:
        if node.name not in self._templates:
            given = ", ".join(sorted(self._templates)) or "none"
            raise Problem(
                node.position, f"template {{{node.name}}} has no value; values given: {given}"
            )
        value = template_value(node.position, node.name, self._templates[node.name])
        return self._literal(node, value)

    def _items(self, node: ast.Items) -> plan.Operand:
        values: list[ast.Value] = []
        for element in node.elements:
            operand = self.check(element)
            if not isinstance(operand, plan.Literal):
                raise Problem(
                    element.position, f"{describe(operand)} in a list; only constants are allowed"
                )
            values.append(operand.value)
        return self._literal(node, tuple(values))

    def _name(self, node: ast.Name) -> plan.Operand:
        field = self._schema.by_name.get(node.name)
        if field is None:
            if not self._schema.dynamic:
                self._unknown_name(node)
            return plan.JsonPath(Kind.JSON, DYNAMIC_FIELD, (node.name, *node.path))
        if field.type.is_vector:
            raise Problem(
                node.position,
                f"field {field.name!r} is {field.type.name}; vectors cannot be filtered by",
            )
        if field.type is DataType.JSON:
            return plan.JsonPath(Kind.JSON, field.name, node.path)
        if field.type is DataType.ARRAY:
            return self._array(node, field)
        if node.path:
            raise Problem(
                node.position,
                f"field {field.name!r} is {field.type.name}; "
                "only JSON and ARRAY fields are accessed with []",
            )
        return plan.Column(plan.kind_of(field.type), field.name, field.type)

    def _array(self, node: ast.Name, field: FieldSchema) -> plan.Operand:
        element = cast(DataType, field.element_type)
        if not node.path:
            return plan.Column(Kind.ARRAY, field.name, element)
        index = node.path[0]
        if len(node.path) > 1 or not isinstance(index, int):
            raise Problem(
                node.position,
                f"ARRAY field {field.name!r} takes one integer index, such as {field.name}[0]",
            )
        return plan.Element(plan.kind_of(element), field.name, index, element)

    def _unknown_name(self, node: ast.Name) -> NoReturn:
        known = ", ".join(field.name for field in self._schema.scalars if not field.dynamic)
        raise Problem(
            node.position,
            f"field {node.name!r} does not exist and the collection has no dynamic field; "
            f"fields are: {known}",
        )

    def _sign(self, node: ast.Sign) -> plan.Operand:
        operand = self._number(node, self.check(node.operand))
        if node.operator == "+":
            return operand
        if isinstance(operand, plan.Literal):
            return self._literal(node, -cast(float, operand.value))
        return plan.Arithmetic(operand.kind, "-", plan.Literal(Kind.INTEGER, 0), operand)

    def _number(self, node: ast.Node, operand: plan.Operand) -> plan.Operand:
        if operand.kind not in _NUMBERS:
            raise Problem(
                node.position,
                f"{describe(operand)} in arithmetic; only numbers and JSON are allowed",
            )
        return operand

    def _binary(self, node: ast.Binary) -> plan.Operand:
        left = self._number(node, self.check(node.left))
        right = self._number(node, self.check(node.right))
        kinds = {left.kind, right.kind}
        if node.operator == "%" and Kind.FLOAT in kinds:
            raise Problem(node.position, "'%' of a floating number; only integers are allowed")
        if isinstance(right, plan.Literal) and right.value == 0 and node.operator in "/%":
            raise Problem(node.position, "division by zero")
        if isinstance(left, plan.Literal) and isinstance(right, plan.Literal):
            return self._fold(node, left, right)
        if Kind.JSON in kinds:
            return plan.Arithmetic(Kind.JSON, node.operator, left, right)
        floating = Kind.FLOAT in kinds or node.operator == "**"
        kind = Kind.FLOAT if floating else Kind.INTEGER
        left, right = self._in_range(node.left, left), self._in_range(node.right, right)
        return plan.Arithmetic(kind, node.operator, left, right)

    def _in_range(self, node: ast.Node, operand: plan.Operand) -> plan.Operand:
        if isinstance(operand, plan.Literal):
            return plan.Literal(operand.kind, fit(node.position, operand, operand.value))
        return operand

    def _fold(self, node: ast.Binary, left: plan.Literal, right: plan.Literal) -> plan.Literal:
        operator = node.operator
        value = arithmetic(operator, left.value, right.value)
        if value is None:
            raise Problem(
                node.position,
                f"{left.value} {operator} {right.value} is no number that 64 bits can hold",
            )
        return self._literal(node, value)

    def _length(self, node: ast.Call) -> plan.Operand:
        if node.function != "array_length":
            raise Problem(
                node.position,
                f"{node.function}(…) is no value; array_length(…) is the only function that is",
            )
        if len(node.arguments) != 1:
            raise Problem(
                node.position, f"array_length takes 1 argument, not {len(node.arguments)}"
            )
        return plan.Length(Kind.INTEGER, self.list_source(node.function, node.arguments[0]))

    def list_source(self, function: str, node: ast.Node) -> plan.Column | plan.JsonPath:
        """The array or JSON that a function looks into.

        Raises:
            Problem: it is neither.
        """
        operand = self.check(node)
        if isinstance(operand, plan.JsonPath) or (
            isinstance(operand, plan.Column) and operand.kind is Kind.ARRAY
        ):
            return operand
        raise Problem(
            node.position,
            f"{function} of {describe(operand)}; only ARRAY fields and JSON are allowed",
        )
