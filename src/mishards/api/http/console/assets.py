"""The console's style sheet, script and icon, as they lie in the package."""

from __future__ import annotations

from importlib import resources

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from mishards.api.http.console.headers import SAFE

_KINDS = {
    "console.css": "text/css; charset=utf-8",
    "console.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
NAMES = frozenset(_KINDS)


def asset_route() -> Route:
    """Where they are served."""
    return Route("/assets/{name}", _asset, methods=["GET"])


async def _asset(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in NAMES:
        return PlainTextResponse("there is no such file", 404, headers=SAFE)
    content = resources.files(__package__).joinpath("assets", name).read_bytes()
    return Response(content, media_type=_KINDS[name], headers=SAFE)
