"""From the text of a filter to its syntax tree.

Invariants: the parser is built once, at the first filter, and holds no state between parses; it
never recurses with the text, so no text can exhaust the stack.
"""

from __future__ import annotations

import functools
from typing import Any, cast

from mishards.expr import ast
from mishards.expr.grammar import grammar
from mishards.expr.literals import float_value, integer_value, list_value, text_value
from mishards.expr.problem import Problem

MAX_TEXT = 8 * 1024 * 1024
"""Characters of a filter; a list of half a million keys fits."""

_KINDS = {
    "NAME": "a name",
    "INTEGER": "a number",
    "STRING": "a text",
    "COMPARE": "a comparison",
    "SIGN": "'+' or '-'",
    "FACTOR": "'*', '/' or '%'",
    "_AND": "'and'",
    "_OR": "'or'",
    "NOT": "'not'",
    "IN": "'in'",
    "LIKE": "'like'",
    "IS_NULL": "'is null'",
    "RPAR": "')'",
    "RSQB": "']'",
    "RBRACE": "'}'",
    "COMMA": "','",
    "LSQUARE": "'['",
    "$END": "the end",
}


def parse(text: str) -> ast.Node | None:
    """The tree of a filter; None when the text is empty.

    Raises:
        Problem: the text is no filter, is too long, or nests too deeply.
    """
    if len(text) > MAX_TEXT:
        raise Problem(0, f"filter of {len(text)} characters; at most {MAX_TEXT} are allowed")
    from lark.exceptions import UnexpectedCharacters, UnexpectedToken

    try:
        return cast("ast.Node | None", _parser().parse(text))
    except UnexpectedCharacters as error:
        raise _bad_character(text, error.pos_in_stream) from None
    except UnexpectedToken as error:
        raise _bad_token(text, error) from None


@functools.cache
def _parser() -> Any:
    # Lark takes 40 ms to import and 50 ms to build its tables: only processes that filter pay.
    from lark import Lark

    return Lark(grammar(), parser="lalr", lexer="contextual", transformer=_Builder())


def _bad_character(text: str, position: int) -> Problem:
    character = text[position]
    if character in "\"'":
        return Problem(position, f"text without its closing {character}")
    if character == "=":
        return Problem(position, "'=' is no operator; '==' compares")
    return Problem(position, f"unexpected character {character!r}")


def _bad_token(text: str, error: Any) -> Problem:
    expected = sorted({_KINDS[kind] for kind in error.accepts or error.expected if kind in _KINDS})
    hint = f"; expected {', '.join(expected)}" if expected else ""
    if error.token.type == "$END":
        return Problem(len(text), f"the filter ends too early{hint}")
    shown = str(error.token)
    shown = shown if len(shown) <= 40 else shown[:40] + "…"
    return Problem(error.token.start_pos, f"unexpected {shown!r}{hint}")


class _Builder:
    """Makes nodes as the parser reduces; each method is named after a rule of the grammar."""

    def start(self, children: list[Any]) -> ast.Node | None:
        return children[0] if children else None

    def disjunction(self, terms: list[Any]) -> ast.Node:
        at = terms[0].position
        return ast.Any(at, ast.depth_above(at, *terms), tuple(terms))

    def conjunction(self, terms: list[Any]) -> ast.Node:
        at = terms[0].position
        return ast.All(at, ast.depth_above(at, *terms), tuple(terms))

    def negation(self, children: list[Any]) -> ast.Node:
        token, term = children
        return ast.Negation(token.start_pos, ast.depth_above(token.start_pos, term), term)

    def comparison(self, children: list[Any]) -> ast.Node:
        operands, operators = tuple(children[::2]), tuple(map(str, children[1::2]))
        at = children[1].start_pos
        return ast.Comparison(at, ast.depth_above(at, *operands), operands, operators)

    def member(self, children: list[Any]) -> ast.Node:
        return _membership(children[0], children[1], children[2], negated=False)

    def no_member(self, children: list[Any]) -> ast.Node:
        return _membership(children[0], children[1], children[3], negated=True)

    def likeness(self, children: list[Any]) -> ast.Node:
        item, token, pattern = children
        at = token.start_pos
        return ast.Likeness(at, ast.depth_above(at, item, pattern), item, pattern)

    def is_null(self, children: list[Any]) -> ast.Node:
        at = children[1].start_pos
        return ast.NullTest(at, ast.depth_above(at, children[0]), children[0], False)

    def is_not_null(self, children: list[Any]) -> ast.Node:
        at = children[1].start_pos
        return ast.NullTest(at, ast.depth_above(at, children[0]), children[0], True)

    def existence(self, children: list[Any]) -> ast.Node:
        token, item = children
        return ast.Existence(token.start_pos, ast.depth_above(token.start_pos, item), item)

    def binary(self, children: list[Any]) -> ast.Node:
        left, token, right = children
        at = token.start_pos
        return ast.Binary(at, ast.depth_above(at, left, right), str(token), left, right)

    def sign(self, children: list[Any]) -> ast.Node:
        token, operand = children
        at = token.start_pos
        return ast.Sign(at, ast.depth_above(at, operand), str(token), operand)

    def name(self, children: list[Any]) -> ast.Node:
        token, *steps = children
        return ast.Name(token.start_pos, 1, str(token), tuple(steps))

    def key_step(self, children: list[Any]) -> ast.Step:
        return text_value(str(children[1]), children[1].start_pos)

    def index_step(self, children: list[Any]) -> ast.Step:
        return integer_value(str(children[1]), children[1].start_pos)

    def call(self, children: list[Any]) -> ast.Node:
        token, *arguments = children
        given = tuple(argument for argument in arguments if argument is not None)
        at = token.start_pos
        return ast.Call(at, ast.depth_above(at, *given), str(token).lower(), given)

    def true(self, children: list[Any]) -> ast.Node:
        return ast.Constant(children[0].start_pos, 1, True)

    def false(self, children: list[Any]) -> ast.Node:
        return ast.Constant(children[0].start_pos, 1, False)

    def integer(self, children: list[Any]) -> ast.Node:
        at = children[0].start_pos
        return ast.Constant(at, 1, integer_value(str(children[0]), at))

    def floating(self, children: list[Any]) -> ast.Node:
        at = children[0].start_pos
        return ast.Constant(at, 1, float_value(str(children[0]), at))

    def string(self, children: list[Any]) -> ast.Node:
        at = children[0].start_pos
        return ast.Constant(at, 1, text_value(str(children[0]), at))

    def plain_list(self, children: list[Any]) -> ast.Node:
        at = children[0].start_pos
        return ast.Constant(at, 1, list_value(str(children[0]), at))

    def items(self, children: list[Any]) -> ast.Node:
        token, *elements = children
        given = tuple(element for element in elements if element is not None)
        at = token.start_pos
        return ast.Items(at, ast.depth_above(at, *given), given)

    def template(self, children: list[Any]) -> ast.Node:
        return ast.Template(children[0].start_pos, 1, str(children[1]))


def _membership(item: ast.Node, token: Any, container: ast.Node, *, negated: bool) -> ast.Node:
    at = token.start_pos
    return ast.Membership(at, ast.depth_above(at, item, container), item, container, negated)
