"""From the syntax tree to a checked plan, against a collection's schema.

Invariants: what Milvus refuses is refused (an integer field compared with 1.5, two JSON values
compared with each other, a vector in a filter); literals are folded and fitted to the column
they meet, so that no evaluator meets a type that does not fit.

Source: Milvus `internal/parser/planparserv2`, https://milvus.io/docs/basic-operators.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mishards.core.schema import CollectionSchema
from mishards.expr import ast, plan
from mishards.expr.fitting import describe, fit, fit_element, show
from mishards.expr.operands import Operands
from mishards.expr.plan import Kind
from mishards.expr.problem import Problem
from mishards.expr.semantics import MIRRORED, compare, is_number

_EVERY = {"contains": None, "contains_all": True, "contains_any": False}
_FUNCTIONS = {
    f"{prefix}_{name}": every for prefix in ("array", "json") for name, every in _EVERY.items()
}
_COMPARABLE = [{Kind.INTEGER, Kind.FLOAT}, {Kind.TEXT}, {Kind.BOOL}]


def check(root: ast.Node, schema: CollectionSchema, templates: Mapping[str, Any]) -> plan.Condition:
    """The checked plan of a filter.

    Raises:
        Problem: a name, a type or a value does not fit; says what is allowed.
    """
    return _Checker(Operands(schema, templates)).condition(root)


class _Checker:
    def __init__(self, operands: Operands) -> None:
        self._operands = operands
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

    def condition(self, node: ast.Node) -> plan.Condition:
        make = self._conditions.get(type(node))
        if make is not None:
            return make(node)
        if isinstance(node, ast.Call) and node.function != "array_length":
            return self._contains(node)
        operand = self._operands.check(node)
        if isinstance(operand, plan.Literal) and isinstance(operand.value, bool):
            return plan.Always(operand.value)
        if operand.kind is Kind.BOOL:
            return plan.Compare("==", operand, plan.Literal(Kind.BOOL, True))
        raise Problem(
            node.position, f"{describe(operand)} is no condition; a comparison is expected"
        )

    def _contains(self, node: ast.Call) -> plan.Condition:
        if node.function not in _FUNCTIONS:
            known = ", ".join((*_FUNCTIONS, "array_length"))
            raise Problem(node.position, f"unknown function {node.function!r}; known are: {known}")
        if len(node.arguments) != 2:
            raise Problem(
                node.position, f"{node.function} takes 2 arguments, not {len(node.arguments)}"
            )
        source = self._operands.list_source(node.function, node.arguments[0])
        at = node.arguments[1].position
        wanted = self._operands.check(node.arguments[1])
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
        operands = [self._operands.check(operand) for operand in node.operands]
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
        item = self._operands.check(node.item)
        if isinstance(item, plan.Literal):
            raise Problem(node.item.position, f"{describe(item)} before 'in'; a field is expected")
        container = self._operands.check(node.container)
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
        item = self._operands.check(node.item)
        if isinstance(item, plan.Literal) or item.kind not in (Kind.TEXT, Kind.JSON):
            raise Problem(
                node.position,
                f"'like' of {describe(item)}; only VARCHAR and JSON fields are allowed",
            )
        pattern = self._operands.check(node.pattern)
        if not isinstance(pattern, plan.Literal) or not isinstance(pattern.value, str):
            raise Problem(
                node.pattern.position, f"{describe(pattern)} as a pattern; a text is expected"
            )
        return plan.Like(item, pattern.value)

    def _null_test(self, node: ast.NullTest) -> plan.Condition:
        item = self._operands.check(node.item)
        if not isinstance(item, plan.Column | plan.Element | plan.JsonPath):
            raise Problem(node.position, f"null test of {describe(item)}; only fields are allowed")
        term = plan.IsNull(item)
        return plan.Not(term) if node.negated else term

    def _existence(self, node: ast.Existence) -> plan.Condition:
        item = self._operands.check(node.item)
        if not isinstance(item, plan.JsonPath) or not item.path:
            raise Problem(
                node.item.position,
                f"'exists' of {describe(item)}; only keys of JSON and dynamic fields are allowed",
            )
        return plan.Not(plan.IsNull(item))
