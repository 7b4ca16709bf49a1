"""What serves one method of the Milvus service.

Invariant: a handler speaks protobuf to the edge side and `ProxyApi` to the inside; it raises
`MishardsError`s, and never builds an error status itself (`status.py` does).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from mishards.proxy.calls import ProxyApi

Answer = Any
"""A protobuf message of the method's response type, or the same already serialised as bytes."""

Handle = Callable[[ProxyApi, Any], Awaitable[Answer]]
"""`async def handle(proxy, request) -> answer`; the request is the method's protobuf message.

From the loop's thread. Raises `MishardsError`s.
"""


class Handler(msgspec.Struct, frozen=True):
    """How a method is served.

    Attributes:
        request: protobuf class of the request.
        response: protobuf class of the answer; an error becomes its status.
        handle: the work.
    """

    request: type[Any]
    response: type[Any]
    handle: Handle
