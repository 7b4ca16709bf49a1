"""Calls to a service that block: made off the loop, their failures told as `Unavailable`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from mishards.core.errors import SystemFault, Unavailable
from mishards.core.runtime import Runtime

T = TypeVar("T")


async def ask_service(runtime: Runtime, what: str, work: Callable[..., T], *args: object) -> T:
    """What `work(*args)` gives, on another thread.

    Args:
        what: the thing that lies in the service, for errors.

    Raises:
        Unavailable: the service failed; names both.
    """
    try:
        return await runtime.blocking(work, *args)
    except SystemFault as error:
        raise Unavailable(f"{what} in {error.message}") from error
