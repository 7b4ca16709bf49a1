"""Expectations in suites that do not require a test framework."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

E = TypeVar("E", bound=Exception)


async def raises(kind: type[E], work: Awaitable[Any]) -> E:
    """The error of that class which awaiting `work` raises.

    Raises:
        AssertionError: nothing was raised.
    """
    try:
        result = await work
    except kind as error:
        return error
    raise AssertionError(f"expected {kind.__name__}, got the result {result!r}")


def refused(kind: type[E], work: Callable[[], Any]) -> E:
    """The error of that class which calling `work` raises.

    Raises:
        AssertionError: nothing was raised.
    """
    try:
        result = work()
    except kind as error:
        return error
    raise AssertionError(f"expected {kind.__name__}, got the result {result!r}")
