"""From the syntax tree to a checked plan, against a collection's schema.

Invariants: what Milvus refuses is refused (an integer field compared with 1.5, two JSON values
compared with each other, a vector in a filter); literals are folded and fitted to the column
they meet, so that no evaluator meets a type that does not fit.

Source: Milvus `internal/parser/planparserv2`, https://milvus.io/docs/basic-operators.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn, cast

from mishards.core.schema import DYNAMIC_FIELD, CollectionSchema, DataType, FieldSchema
from mishards.expr import ast, plan
from mishards.expr.fitting import describe, fit, fit_element, show, template_value
from mishards.expr.plan import Kind
from mishards.expr.problem import Problem
from mishards.expr.semantics import INT64_MAX, INT64_MIN, MIRRORED, arithmetic, compare, is_number

_EVERY = {"contains": None, "contains_all": True, "contains_any": False}
_FUNCTIONS = {
    f"{prefix}_{name}": every for prefix in ("array", "json") for name, every in _EVERY.items()
}
_NUMBERS = (Kind.INTEGER, Kind.FLOAT)
_COMPARABLE = [{Kind.INTEGER, Kind.FLOAT}, {Kind.TEXT}, {Kind.BOOL}]


def check(root: ast.Node, schema: CollectionSchema, templates: Mapping[str, Any]) -> plan.Condition:
    """The checked plan of a filter.

    Raises:
        Problem: a name, a type or a value does not fit; says what is allowed.
    """
    return _Checker(schema, templates).condition(root)


class _Checker:
    def __init__(self, schema: CollectionSchema, templates: Mapping[str, Any]) -> None:
        self._schema = schema
        self._templates = templates
        self._conditions: dict[type[ast.Node], Callable[[Any], plan.Condition]] = {
            ast.All: lambda node: plan.And(tuple(map(self.condition, node.terms))),
            ast.Any: lambda node: plan.Or(tuple(map(self.condition, node.terms))),
            ast.Negation: lambda node: plan.Not(self.condition(node.term)),
            ast.Comparison: self._comparison,
            ast.Membership: self._membership,
            ast.Likeness: self._likeness,
            ast.NullTest: self._null_test,
            ast.Existence: self._existence,
        }
        self._operands: dict[type[ast.Node], Callable[[Any], plan.Operand]] = {
            ast.Constant: lambda node: self._literal(node, node.value),
            ast.Items: self._items,
            ast.Template: self._template,
            ast.Name: self._name,
            ast.Sign: self._sign,
            ast.Binary: self._binary,
            ast.Call: self._length,
        }

    def condition(self, node: ast.Node) -> plan.Condition:
        make = self._conditions.get(type(node))
        if make is not None:
            return make(node)
        if isinstance(node, ast.Call) and node.function != "array_length":
            return self._contains(node)
        operand = self.operand(node)
        if isinstance(operand, plan.Literal) and isinstance(operand.value, bool):
            return plan.Always(operand.value)
        if operand.kind is Kind.BOOL:
            return plan.Compare("==", operand, plan.Literal(Kind.BOOL, True))
        raise Problem(
            node.position, f"{describe(operand)} is no condition; a comparison is expected"
        )

    def operand(self, node: ast.Node) -> plan.Operand:
        make = self._operands.get(type(node))
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
            operand = self.operand(element)
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
        operand = self._number(node, self.operand(node.operand))
        if node.operator == "+":
            return operand
        if isinstance(operand, plan.Literal):
            return self._literal(node, -cast(float, operand.value))
        return plan.Arithmetic(operand.kind, "-", plan.Literal(Kind.INTEGER, 0), operand)

    def _number(self, node: ast.Node, operand: plan.Operand) -> plan.Operand:
        if operand.kind not in (*_NUMBERS, Kind.JSON):
            raise Problem(
                node.position,
                f"{describe(operand)} in arithmetic; only numbers and JSON are allowed",
            )
        return operand

    def _binary(self, node: ast.Binary) -> plan.Operand:
        left = self._number(node, self.operand(node.left))
        right = self._number(node, self.operand(node.right))
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

    def _fold(self, node: ast.Node, left: plan.Literal, right: plan.Literal) -> plan.Literal:
        operator = cast(ast.Binary, node).operator
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
        return plan.Length(Kind.INTEGER, self._list_source(node.function, node.arguments[0]))

    def _list_source(self, function: str, node: ast.Node) -> plan.Column | plan.JsonPath:
        operand = self.operand(node)
        if isinstance(operand, plan.JsonPath) or (
            isinstance(operand, plan.Column) and operand.kind is Kind.ARRAY
        ):
            return operand
        raise Problem(
            node.position,
            f"{function} of {describe(operand)}; only ARRAY fields and JSON are allowed",
        )

    def _contains(self, node: ast.Call) -> plan.Condition:
        if node.function not in _FUNCTIONS:
            known = ", ".join((*_FUNCTIONS, "array_length"))
            raise Problem(node.position, f"unknown function {node.function!r}; known are: {known}")
        if len(node.arguments) != 2:
            raise Problem(
                node.position, f"{node.function} takes 2 arguments, not {len(node.arguments)}"
            )
        source = self._list_source(node.function, node.arguments[0])
        at = node.arguments[1].position
        wanted = self.operand(node.arguments[1])
        if not isinstance(wanted, plan.Literal):
            raise Problem(at, f"{describe(wanted)} as what to look for; a constant is expected")
        every = _FUNCTIONS[node.function]
        if every is None:
            values: tuple[ast.Value, ...] = (wanted.value,)
        elif isinstance(wanted.value, tuple):
            values = wanted.value
        else:
            raise Problem(at, f"{node.function} takes a list, not {show(wanted.value)}")
        fitted = tuple(fit_element(at, source, value) for value in values)
        return plan.Contains(source, fitted, every is not False)

    def _comparison(self, node: ast.Comparison) -> plan.Condition:
        operands = [self.operand(operand) for operand in node.operands]
        if len(node.operators) > 1:
            self._check_chain(node)
        terms = tuple(
            self._compare(node, operator, operands[at], operands[at + 1])
            for at, operator in enumerate(node.operators)
        )
        return terms[0] if len(terms) == 1 else plan.And(terms)

    def _check_chain(self, node: ast.Comparison) -> None:
        if not (set(node.operators) <= {"<", "<="} or set(node.operators) <= {">", ">="}):
            raise Problem(
                node.position,
                f"chain of {' '.join(node.operators)}; a chain is of < and <=, or of > and >=",
            )

    def _compare(
        self, node: ast.Comparison, operator: str, left: plan.Operand, right: plan.Operand
    ) -> plan.Condition:
        if isinstance(left, plan.Literal):
            if isinstance(right, plan.Literal):
                return self._compare_literals(node, operator, left, right)
            left, right, operator = right, left, MIRRORED[operator]
        unordered = left.kind in (Kind.BOOL, Kind.ARRAY) or right.kind in (Kind.BOOL, Kind.ARRAY)
        if unordered and operator not in ("==", "!="):
            culprit = left if left.kind in (Kind.BOOL, Kind.ARRAY) else right
            raise Problem(
                node.position, f"{describe(culprit)} with {operator!r}; only == and != are allowed"
            )
        if isinstance(right, plan.Literal):
            value = fit(node.position, left, right.value)
            return plan.Compare(operator, left, plan.Literal(right.kind, value))
        if not any({left.kind, right.kind} <= family for family in _COMPARABLE):
            raise Problem(
                node.position,
                f"{describe(left)} cannot be compared with {describe(right)}; "
                "two numbers, two texts or two booleans can",
            )
        return plan.Compare(operator, left, right)

    def _compare_literals(
        self, node: ast.Comparison, operator: str, left: plan.Literal, right: plan.Literal
    ) -> plan.Condition:
        ordered = operator in ("==", "!=") or is_number(left.value) or isinstance(left.value, str)
        result = compare(operator, left.value, right.value) if ordered else None
        if result is None:
            raise Problem(
                node.position,
                f"{show(left.value)} {operator} {show(right.value)} compares nothing comparable",
            )
        return plan.Always(result)

    def _membership(self, node: ast.Membership) -> plan.Condition:
        item = self.operand(node.item)
        if isinstance(item, plan.Literal):
            raise Problem(node.item.position, f"{describe(item)} before 'in'; a field is expected")
        container = self.operand(node.container)
        if not isinstance(container, plan.Literal) or not isinstance(container.value, tuple):
            raise Problem(
                node.container.position, f"{describe(container)} after 'in'; a list is expected"
            )
        if item.kind is Kind.ARRAY:
            raise Problem(
                node.item.position,
                f"{describe(item)} before 'in'; array_contains_any looks into arrays",
            )
        at = node.container.position
        term = plan.Member(item, tuple(fit(at, item, value) for value in container.value))
        return plan.Not(term) if node.negated else term

    def _likeness(self, node: ast.Likeness) -> plan.Condition:
        item = self.operand(node.item)
        if isinstance(item, plan.Literal) or item.kind not in (Kind.TEXT, Kind.JSON):
            raise Problem(
                node.position,
                f"'like' of {describe(item)}; only VARCHAR and JSON fields are allowed",
            )
        pattern = self.operand(node.pattern)
        if not isinstance(pattern, plan.Literal) or not isinstance(pattern.value, str):
            raise Problem(
                node.pattern.position, f"{describe(pattern)} as a pattern; a text is expected"
            )
        return plan.Like(item, pattern.value)

    def _null_test(self, node: ast.NullTest) -> plan.Condition:
        item = self.operand(node.item)
        if not isinstance(item, plan.Column | plan.Element | plan.JsonPath):
            raise Problem(node.position, f"null test of {describe(item)}; only fields are allowed")
        term = plan.IsNull(item)
        return plan.Not(term) if node.negated else term

    def _existence(self, node: ast.Existence) -> plan.Condition:
        item = self.operand(node.item)
        if not isinstance(item, plan.JsonPath) or not item.path:
            raise Problem(
                node.item.position,
                f"'exists' of {describe(item)}; only keys of JSON and dynamic fields are allowed",
            )
        return plan.Not(plan.IsNull(item))
