"""The filter as written: what the parser makes and the type check reads.

Invariants: nodes are frozen; `position` is the offset of the node's telling character in the
text; `depth` counts the nodes to the deepest leaf and never exceeds `MAX_DEPTH`, so that code
that walks a tree may recurse.
"""

from __future__ import annotations

import msgspec

from mishards.expr.problem import Problem

MAX_DEPTH = 150
"""Levels of nodes; parentheses and the terms of one `and`, `or` or list are no levels."""

Scalar = bool | int | float | str
Value = Scalar | tuple["Value", ...]
Step = str | int
"""A key of an object or a position in a list."""


class Node(msgspec.Struct, frozen=True):
    position: int
    depth: int


class Constant(Node, frozen=True):
    """A literal; a tuple where the text has a list of plain literals."""

    value: Value


class Items(Node, frozen=True):
    """A list whose elements are expressions."""

    elements: tuple[Node, ...]


class Template(Node, frozen=True):
    """`{name}`: a value given beside the text."""

    name: str


class Name(Node, frozen=True):
    """A field or dynamic key, with the steps into it."""

    name: str
    path: tuple[Step, ...] = ()


class Sign(Node, frozen=True):
    """`+x` or `-x`."""

    operator: str
    operand: Node


class Binary(Node, frozen=True):
    """Arithmetic: `+ - * / % **`."""

    operator: str
    left: Node
    right: Node


class Comparison(Node, frozen=True):
    """`operands[0] operators[0] operands[1] …`: one comparison, or a chain such as `1 < x <= 5`."""

    operands: tuple[Node, ...]
    operators: tuple[str, ...]


class Membership(Node, frozen=True):
    item: Node
    container: Node
    negated: bool


class Likeness(Node, frozen=True):
    item: Node
    pattern: Node


class NullTest(Node, frozen=True):
    item: Node
    negated: bool


class Existence(Node, frozen=True):
    item: Node


class Call(Node, frozen=True):
    """`function(arguments)`; the name in lower case."""

    function: str
    arguments: tuple[Node, ...]


class All(Node, frozen=True):
    terms: tuple[Node, ...]


class Any(Node, frozen=True):
    terms: tuple[Node, ...]


class Negation(Node, frozen=True):
    term: Node


def depth_above(position: int, *children: Node) -> int:
    """The depth of a node over `children`.

    Raises:
        Problem: it would exceed `MAX_DEPTH`.
    """
    depth = 1 + max((child.depth for child in children), default=0)
    if depth > MAX_DEPTH:
        raise Problem(position, f"nested too deeply; at most {MAX_DEPTH} levels are allowed")
    return depth
