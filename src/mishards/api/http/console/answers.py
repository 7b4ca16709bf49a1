"""Answers and forms as every route of the console makes and reads them."""

from __future__ import annotations

from urllib.parse import parse_qsl

import msgspec
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from mishards.api.http.console.headers import SAFE

_MOST_FIELDS = 40


def page_answer(text: str, status: int = 200, **headers: str) -> Response:
    """A page."""
    return Response(text, status, media_type="text/html; charset=utf-8", headers=SAFE | headers)


def json_answer(value: object, status: int = 200) -> Response:
    """A value as JSON."""
    return Response(msgspec.json.encode(value), status, media_type="application/json", headers=SAFE)


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form, or of a JSON object; empty for what is neither."""
    body = await request.body()
    if request.headers.get("content-type", "").startswith("application/json"):
        try:
            return {k: str(v) for k, v in msgspec.json.decode(body, type=dict[str, object]).items()}
        except msgspec.MsgspecError:
            return {}
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError:
        return {}


def page_number(query: QueryParams) -> int:
    """The number of the page that is asked for; 1 for whatever is no number."""
    asked = query.get("page", "")
    return int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 9 else 1
