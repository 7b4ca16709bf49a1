"""The console's addresses: pages for people, and the same as JSON under `/api/v1/`.

Invariant: views and pages are made off the loop, for those of a large cluster take a while.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from mishards.api.http.console.assets import asset
from mishards.api.http.console.collections import Summing
from mishards.api.http.console.frame import document
from mishards.api.http.console.headers import SAFE
from mishards.api.http.console.markup import el
from mishards.api.http.console.overview import Overview, overview
from mishards.api.http.console.page_collections import Collections, collections, collections_page
from mishards.api.http.console.page_overview import overview_page
from mishards.core.runtime import Runtime
from mishards.proxy.calls import ProxyApi
from mishards.proxy.cluster_state import ClusterState

T = TypeVar("T")
Answer = Callable[[Request, ProxyApi], Awaitable[Response]]

_HTML = "text/html; charset=utf-8"
_JSON = "application/json"


class Console:
    """The console of one proxy. Until `proxy` is set it says that the node starts."""

    def __init__(self, runtime: Runtime) -> None:
        self.proxy: ProxyApi | None = None
        self._runtime = runtime
        self._summing = Summing()

    def routes(self) -> list[Route]:
        """Its addresses."""
        return [
            *self._shown("/", "overview", self._overview, overview_page),
            *self._shown("/collections", "collections", self._collections, collections_page),
            Route("/assets/{name}", self._asset, methods=["GET"]),
        ]

    # --- views ------------------------------------------------------------------------------

    def _overview(self, state: ClusterState, query: QueryParams) -> Overview:
        return overview(state, self._summing, _page(query))

    def _collections(self, state: ClusterState, query: QueryParams) -> Collections:
        return collections(state, self._summing, query.get("part", ""), _page(query))

    # --- answers ----------------------------------------------------------------------------

    def _shown(
        self,
        path: str,
        name: str,
        view: Callable[[ClusterState, QueryParams], T],
        page: Callable[[T], str],
    ) -> list[Route]:
        """A view of the cluster, as a page at `path` and as JSON at `/api/v1/{name}`."""

        async def as_page(request: Request, proxy: ProxyApi) -> Response:
            state = await proxy.look.state()
            text = await self._runtime.blocking(lambda: page(view(state, request.query_params)))
            return Response(text, media_type=_HTML, headers=SAFE)

        async def as_json(request: Request, proxy: ProxyApi) -> Response:
            state = await proxy.look.state()
            data = await self._runtime.blocking(
                lambda: msgspec.json.encode(view(state, request.query_params))
            )
            return Response(data, media_type=_JSON, headers=SAFE)

        return [
            Route(path, self._served(as_page), methods=["GET"]),
            Route(f"/api/v1/{name}", self._served(as_json), methods=["GET"]),
        ]

    def _served(self, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
        async def served(request: Request) -> Response:
            if self.proxy is None:
                return _starting()
            return await answer(request, self.proxy)

        return served

    async def _asset(self, request: Request) -> Response:
        found = asset(request.path_params["name"])
        if found is None:
            return PlainTextResponse("there is no such file", 404, headers=SAFE)
        content, kind = found
        return Response(content, media_type=kind, headers=SAFE)


def _page(query: QueryParams) -> int:
    """The number of the page that is asked for; 1 for whatever is no number."""
    asked = query.get("page", "")
    return int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 9 else 1


def _starting() -> Response:
    said = el(
        "p",
        "This proxy is starting: it waits for its storage, its metadata, or the first writer. "
        "Its log and /readyz say more.",
        class_="none",
        role="status",
    )
    text = document("Starting", "", said)
    return Response(text, 503, media_type=_HTML, headers=SAFE | {"Retry-After": "2"})
