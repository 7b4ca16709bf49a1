"""Lists in pages: no answer grows with the cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")

PAGE = 50


class Page(msgspec.Struct, Generic[T], frozen=True):
    """Some of many.

    Attributes:
        number: from 1.
        pages: at least 1.
        total: how many there are on all pages.
    """

    items: list[T]
    number: int = 1
    pages: int = 1
    total: int = 0


def cut(items: Sequence[T], number: int, size: int = PAGE) -> Page[T]:
    """The page of that number; of one that is not there the nearest."""
    pages = max(1, -(-len(items) // size))
    number = min(max(1, number), pages)
    return Page(list(items[(number - 1) * size : number * size]), number, pages, len(items))
