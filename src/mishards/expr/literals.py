"""Literals of the filter language: from their text to Python values.

Invariants: integers come out unbounded (the type check knows the range); text is always
encodable as UTF-8.
"""

from __future__ import annotations

import re

import msgspec

from mishards.expr.ast import Scalar
from mishards.expr.grammar import ITEM
from mishards.expr.problem import Problem

_ESCAPE = re.compile(
    r"\\(?:([abfnrtv\\\"'?])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3}))"
)
_PLAIN = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "\\": "\\",
    '"': '"',
    "'": "'",
    "?": "?",
}
_ITEM = re.compile(ITEM)


def text_value(token: str, position: int) -> str:
    """The text of a quoted literal.

    An unknown escape stays as it is, backslash included: so `like "100\\%"` and
    `like "100\\\\%"` both hand `\\%` to the pattern.

    Raises:
        Problem: an escape names no character.
    """
    body = token[1:-1]
    if "\\" not in body:
        return body

    def character(match: re.Match[str]) -> str:
        plain, *codes, octal = match.groups()
        if plain:
            return _PLAIN[plain]
        code = int(octal, 8) if octal else int(next(filter(None, codes)), 16)
        if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
            raise Problem(position + 1 + match.start(), f"{match.group()} is no character")
        return chr(code)

    return _ESCAPE.sub(character, body)


def integer_value(token: str, position: int) -> int:
    """An integer: decimal, `0x…`, `0b…`, or octal with a leading 0.

    Raises:
        Problem: it has more digits than any 64-bit number.
    """
    if len(token) > 80:
        raise Problem(position, f"integer of {len(token)} digits; 64 bits are allowed")
    if token[:2] in ("0x", "0X"):
        return int(token, 16)
    if token[:2] in ("0b", "0B"):
        return int(token, 2)
    return int(token, 8) if token[0] == "0" else int(token)


def float_value(token: str, position: int) -> float:
    """A floating number, decimal or hexadecimal.

    Raises:
        Problem: it is too large for a double.
    """
    try:
        value = float.fromhex(token) if token[:2] in ("0x", "0X") else float(token)
    except OverflowError:
        value = float("inf")
    if value == float("inf"):
        raise Problem(position, f"{token[:40]} is too large for a double")
    return value


def list_value(token: str, position: int) -> tuple[Scalar, ...]:
    """The elements of a list of plain literals.

    Raises:
        Problem: an element is out of every range.
    """
    fast = _json_list(token)
    if fast is not None:
        return fast
    return tuple(_item(match.group(), position + match.start()) for match in _ITEM.finditer(token))


def _json_list(token: str) -> tuple[Scalar, ...] | None:
    """The elements where the list is also JSON, some ten times faster; None where it is not."""
    if "'" in token:
        if '"' in token:
            return None
        token = token.replace("'", '"')
    try:
        return tuple(msgspec.json.decode(token))
    except (msgspec.DecodeError, UnicodeEncodeError):
        return None


def _item(text: str, position: int) -> Scalar:
    if text[0] in "\"'":
        return text[1:-1]
    if text[0] in "tTfF":
        return text[0] in "tT"
    digits = text.lstrip("+-")
    hexadecimal = digits[:2] in ("0x", "0X")
    floating = any(mark in digits for mark in (".pP" if hexadecimal else ".eE"))
    number = float_value(digits, position) if floating else integer_value(digits, position)
    return -number if text[0] == "-" else number
