"""The console's addresses: pages for people, and the same as JSON under `/api/v1/`.

Invariant: views and pages of the whole cluster are made off the loop, for those of a large one take
a while.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mishards.api.http.console.answers import form_of, json_answer, page_answer, page_number
from mishards.api.http.console.assets import NAMES, asset_route
from mishards.api.http.console.collection import OneCollection, one_collection
from mishards.api.http.console.collections import Summing
from mishards.api.http.console.frame import badge, collection_path, document
from mishards.api.http.console.markup import Child, el
from mishards.api.http.console.overview import Overview, overview
from mishards.api.http.console.page_collection import collection_page
from mishards.api.http.console.page_collections import Collections, collections, collections_page
from mishards.api.http.console.page_overview import overview_page
from mishards.api.http.console.page_playground import playground_page
from mishards.api.http.console.page_ring import ring_page
from mishards.api.http.console.page_traces import slow_page, trace_page
from mishards.api.http.console.playground import Outcome, played
from mishards.api.http.console.query import Asked
from mishards.api.http.console.ring import Ring, chosen_view, ring
from mishards.api.http.console.signing_in import PATH as SIGNIN
from mishards.api.http.console.signing_in import SigningIn, session_of
from mishards.api.http.console.steering import steer, steering_section
from mishards.api.http.console.traces import slow_list, waterfall
from mishards.api.http.guard import Access, token_shown
from mishards.core.errors import MishardsError
from mishards.core.runtime import Runtime
from mishards.core.secret import Secret
from mishards.observability.slow import SlowTraces
from mishards.proxy.calls import ProxyApi
from mishards.proxy.cluster_state import ClusterState

T = TypeVar("T")
Answer = Callable[[Request, ProxyApi], Awaitable[Response]]


class Console:
    """The console of one proxy. Until `proxy` is set it says that the node starts."""

    def __init__(self, runtime: Runtime, token: Secret) -> None:
        self.proxy: ProxyApi | None = None
        self.slow = SlowTraces(0)
        self._runtime = runtime
        self._summing = Summing()
        self._signing_in = SigningIn(token, runtime)

    @property
    def access(self) -> Access:
        """What the guard has to know of it."""
        return Access(
            open=frozenset({SIGNIN, *(f"/assets/{name}" for name in NAMES)}),
            reads=frozenset({"/playground", "/api/v1/search"}),
            ways=(self._signing_in.signed_in,),
            login=SIGNIN,
        )

    def routes(self) -> list[Route]:
        """Its addresses."""
        get, post = ["GET"], ["POST"]
        return [
            *self._shown("/", "overview", self._overview, overview_page),
            *self._shown("/ring", "ring", self._ring, ring_page),
            *self._shown("/collections", "collections", self._collections, collections_page),
            Route("/collections/{database}/{name}", self._served(self._collection), methods=get),
            Route("/api/v1/collections/{database}/{name}", self._served(self._collection_json)),
            Route("/slow", self._served(self._slow), methods=get),
            Route("/slow/{trace_id}", self._served(self._trace), methods=get),
            Route("/api/v1/slow", self._served(self._slow_json), methods=get),
            Route("/playground", self._served(self._playground), methods=get),
            Route("/playground", self._served(self._play), methods=post),
            Route("/api/v1/search", self._served(self._search_json), methods=post),
            Route("/steer", self._served(self._steer), methods=post),
            *self._signing_in.routes(),
            asset_route(),
        ]

    # --- views of the cluster ---------------------------------------------------------------

    def _overview(self, state: ClusterState, query: QueryParams, proxy: ProxyApi) -> Overview:
        return overview(state, self._summing, page_number(query))

    def _collections(self, state: ClusterState, query: QueryParams, proxy: ProxyApi) -> Collections:
        return collections(state, self._summing, query.get("part", ""), page_number(query))

    def _ring(self, state: ClusterState, query: QueryParams, proxy: ProxyApi) -> Ring:
        view = chosen_view(state, query.get("collection", ""))
        planned = {} if view is None else proxy.look.preferences(view)
        return ring(state, view, planned, page_number(query))

    def _shown(
        self,
        path: str,
        name: str,
        view: Callable[[ClusterState, QueryParams, ProxyApi], T],
        page: Callable[[T], str],
    ) -> list[Route]:
        """A view of the cluster, as a page at `path` and as JSON at `/api/v1/{name}`."""

        async def as_page(request: Request, proxy: ProxyApi) -> Response:
            state, query = await proxy.look.state(), request.query_params
            text = await self._runtime.blocking(lambda: page(view(state, query, proxy)))
            return page_answer(text)

        async def as_json(request: Request, proxy: ProxyApi) -> Response:
            state, query = await proxy.look.state(), request.query_params
            return await self._runtime.blocking(lambda: json_answer(view(state, query, proxy)))

        return [
            Route(path, self._served(as_page), methods=["GET"]),
            Route(f"/api/v1/{name}", self._served(as_json), methods=["GET"]),
        ]

    # --- one collection ---------------------------------------------------------------------

    async def _one(self, request: Request, proxy: ProxyApi) -> OneCollection | None:
        state = await proxy.look.state()
        named = request.path_params
        view = state.snapshot.find(named["database"], named["name"])
        if view is None:
            return None
        number = page_number(request.query_params)
        return await self._runtime.blocking(one_collection, state, self._summing, view, number)

    async def _collection(self, request: Request, proxy: ProxyApi) -> Response:
        found = await self._one(request, proxy)
        if found is None:
            return _missing("There is no such collection; it may have been dropped or renamed.")
        steering: Child = None
        if token_shown(request):
            proof = self._signing_in.sessions.proof(session_of(request))
            row = found.row
            steering = steering_section(row.database, row.name, loaded=row.loaded, proof=proof)
        return page_answer(collection_page(found, steering))

    async def _collection_json(self, request: Request, proxy: ProxyApi) -> Response:
        found = await self._one(request, proxy)
        if found is None:
            return json_answer({"error": "there is no such collection"}, 404)
        return json_answer(found)

    # --- slow requests ----------------------------------------------------------------------

    async def _slow(self, request: Request, proxy: ProxyApi) -> Response:
        traces = self.slow.newest_first()
        return page_answer(slow_page(slow_list(traces, page_number(request.query_params))))

    async def _slow_json(self, request: Request, proxy: ProxyApi) -> Response:
        return json_answer(slow_list(self.slow.newest_first(), page_number(request.query_params)))

    async def _trace(self, request: Request, proxy: ProxyApi) -> Response:
        asked = request.path_params["trace_id"]
        found = next((t for t in self.slow.newest_first() if t.trace_id == asked), None)
        text = trace_page(None if found is None else waterfall(found))
        return page_answer(text, 200 if found else 404)

    # --- searching and steering -------------------------------------------------------------

    async def _playground(self, request: Request, proxy: ProxyApi) -> Response:
        asked = Asked.of(dict(request.query_params))
        return page_answer(playground_page(proxy.snapshot, Outcome(asked=asked)))

    async def _play(self, request: Request, proxy: ProxyApi) -> Response:
        outcome = await played(proxy, self._runtime, Asked.of(await form_of(request)))
        return page_answer(playground_page(proxy.snapshot, outcome))

    async def _search_json(self, request: Request, proxy: ProxyApi) -> Response:
        outcome = await played(proxy, self._runtime, Asked.of(await form_of(request)))
        return json_answer(outcome, 400 if outcome.error else 200)

    async def _steer(self, request: Request, proxy: ProxyApi) -> Response:
        form = await form_of(request)
        session = session_of(request)
        if not token_shown(request):
            return _missing("Not without the token.", 403)
        if session and not self._signing_in.sessions.proves(session, form.get("proof", "")):
            return _missing("That form is of another session: go back and load the page anew.", 403)
        collection = form.get("collection", "")
        try:
            said = el(
                "p",
                badge("good", "Done"),
                " ",
                await steer(proxy, form.get("action", ""), collection),
            )
            status = 200
        except MishardsError as error:
            said = el("p", badge("broken", "Refused"), " ", error.message, role="alert")
            status = 400
        database, _, name = collection.partition("/")
        back = el("p", el("a", "Back to the collection", href=collection_path(database, name)))
        return page_answer(document("Steered", "/collections", said, back, live=False), status)

    def _served(self, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
        async def served(request: Request) -> Response:
            if self.proxy is None:
                return _starting()
            return await answer(request, self.proxy)

        return served


def _missing(said: str, status: int = 404) -> Response:
    text = document("Not found" if status == 404 else "Refused", "", el("p", said, class_="none"))
    return page_answer(text, status)


def _starting() -> Response:
    said = el(
        "p",
        "This proxy is starting: it waits for its storage, its metadata, or the first writer. "
        "Its log and /readyz say more.",
        class_="none",
        role="status",
    )
    return page_answer(document("Starting", "", said), 503)
