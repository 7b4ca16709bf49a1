"""The gRPC health service: of the server as a whole, and of the Milvus service.

Invariant: the messages are so small that they are written and read here, which spares a
dependency. Source: https://github.com/grpc/grpc/blob/master/doc/health-checking.md
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing

from mishards.api.health import Health
from mishards.api.milvus.edge.protocol import INVALID_ARGUMENT, NOT_FOUND, GrpcFailure

CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"

_SERVING, _NOT_SERVING, _SERVICE_UNKNOWN = b"\x08\x01", b"\x08\x02", b"\x08\x03"
"""Serialised `HealthCheckResponse`s."""
_NAME_TAG = 0x0A
_LONGEST_NAME = 0x7F


class HealthService:
    """Answers from a node's health."""

    def __init__(self, health: Health, services: Collection[str]) -> None:
        """`services`: names of the services that are as healthy as the node is."""
        self._health = health
        self._known = {"", *services}

    def check(self, payload: bytes) -> bytes:
        """Serves `Check`.

        Raises:
            GrpcFailure: an unknown service, or no `HealthCheckRequest`.
        """
        name = _service(payload)
        if name not in self._known:
            raise GrpcFailure(NOT_FOUND, f"unknown service {name!r}")
        return _NOT_SERVING if self._health.ask() else _SERVING

    async def watch(self, payload: bytes) -> AsyncGenerator[bytes]:
        """Serves `Watch`, for ever: a service that is unknown may come, says the specification.

        Raises:
            GrpcFailure: no `HealthCheckRequest`.
        """
        if _service(payload) not in self._known:
            yield _SERVICE_UNKNOWN
            await asyncio.Event().wait()
        async with aclosing(self._health.watch()) as states:
            async for serves in states:
                yield _SERVING if serves else _NOT_SERVING


def _service(payload: bytes) -> str:
    """The name in a `HealthCheckRequest`: one short text field, or nothing."""
    if not payload:
        return ""
    length = payload[1] if len(payload) > 1 else _LONGEST_NAME + 1
    if payload[0] != _NAME_TAG or length > _LONGEST_NAME or len(payload) != length + 2:
        raise GrpcFailure(
            INVALID_ARGUMENT,
            f"no HealthCheckRequest that names a service in at most {_LONGEST_NAME} bytes",
        )
    return payload[2:].decode("utf-8", "replace")
