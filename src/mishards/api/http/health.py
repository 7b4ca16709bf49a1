"""`/healthz` and `/readyz`: whether the process lives, and whether the node serves.

Invariant: both are answered by the loop that does the node's work, so one that hangs fails them.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from mishards.api.health import Health

_ANSWERS_MUST_BE_FRESH = {"Cache-Control": "no-store"}


def health_routes(health: Health, node: str, roles: Sequence[str]) -> list[Route]:
    """The two paths; each answer names the node."""
    who = {"node": node, "roles": list(roles)}

    async def alive(request: Request) -> JSONResponse:
        return JSONResponse({"alive": True, **who}, headers=_ANSWERS_MUST_BE_FRESH)

    async def ready(request: Request) -> JSONResponse:
        reason = health.ask()
        answer = {"ready": not reason, **who}
        if reason:
            answer["reason"] = reason
        return JSONResponse(answer, 503 if reason else 200, headers=_ANSWERS_MUST_BE_FRESH)

    return [Route("/healthz", alive), Route("/readyz", ready)]
