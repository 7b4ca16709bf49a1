"""HTML and SVG as text in which nothing that comes from data is markup.

Invariant: `Html` is made by `el` and `join` alone, and both escape every text that is not `Html`;
names of elements and attributes are written in code. What is joined to an `Html` by other means
(`+`, f-strings) is a plain text again, and escaped.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TypeAlias

_EMPTY = frozenset({"br", "circle", "img", "input", "line", "link", "meta", "path", "rect"})
"""Elements that need no end, where nothing is in them."""


class Html(str):
    """Markup that is safe to send."""

    __slots__ = ()


Child: TypeAlias = "str | int | float | Iterable[Child] | None"
Attribute: TypeAlias = str | int | float | bool | None


def el(name: str, /, *children: Child, **attributes: Attribute) -> Html:
    """An element.

    Args:
        name: of the element.
        children: texts, numbers, elements, and lists of them; None is left out.
        attributes: an underscore at the end of a name is cut, any other is a hyphen; True stands
            for one without a value, None and False for none.
    """
    given = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _EMPTY and not children:
        return Html(f"<{name}{given}/>")
    return Html(f"<{name}{given}>{join(*children)}</{name}>")


def join(*children: Child) -> Html:
    """All of them, one after another."""
    return Html("".join(_child(child) for child in children))


def _child(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Html):
        return child
    if isinstance(child, str | int | float):
        return escape(str(child))
    return "".join(_child(one) for one in child)


def _attribute(key: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    name = key.removesuffix("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'
