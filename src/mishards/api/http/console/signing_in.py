"""Signing in with the token, and out."""

from __future__ import annotations

import asyncio

from starlette.requests import HTTPConnection, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from mishards.api.http.console.answers import form_of, page_answer
from mishards.api.http.console.frame import badge, document
from mishards.api.http.console.headers import SAFE
from mishards.api.http.console.markup import Child, el
from mishards.api.http.console.sessions import LIFE_S, Sessions
from mishards.api.http.guard import Token, token_shown
from mishards.core.runtime import Runtime
from mishards.core.secret import Secret

PATH = "/signin"
COOKIE = "mishards_session"
_PAUSE_S = 0.5


class SigningIn:
    """The page to sign in at, and the sessions that come of it."""

    def __init__(self, token: Secret, runtime: Runtime) -> None:
        self.sessions = Sessions(token, runtime.now_ms)
        self._token = Token(token, "http.token")
        self._runtime = runtime
        self._wrong = asyncio.Lock()

    def routes(self) -> list[Route]:
        """Its addresses."""
        return [
            Route(PATH, self._page, methods=["GET"]),
            Route(PATH, self._sign_in, methods=["POST"]),
            Route("/signout", self._sign_out, methods=["POST"]),
        ]

    def signed_in(self, request: HTTPConnection) -> bool:
        """Whether a request brings a good session."""
        return self.sessions.good(session_of(request))

    async def _page(self, request: Request) -> Response:
        return page_answer(self._text(token_shown(request)))

    async def _sign_in(self, request: Request) -> Response:
        given = (await form_of(request)).get("token", "")
        if not self._token.matches(given):
            # One after another, so that guessing stays slow however many guess at once.
            async with self._wrong:
                await self._runtime.sleep(_PAUSE_S)
            return page_answer(self._text(False, "That is not the token."), 403)
        answer = RedirectResponse("/", 303, headers=SAFE)
        answer.set_cookie(
            COOKIE,
            self.sessions.begin(),
            max_age=LIFE_S,
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )
        return answer

    async def _sign_out(self, request: Request) -> Response:
        answer = RedirectResponse(PATH, 303, headers=SAFE)
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return answer

    def _text(self, shown: bool, wrong: str = "") -> str:
        content: Child
        if not self._token:
            content = el(
                "p",
                "This endpoint has no token (http.token): the console is for this machine alone, "
                "and nothing can be changed here.",
                class_="none",
            )
        elif shown:
            content = el(
                "form",
                el("p", badge("good", "Signed in"), " Collections can be steered on their pages."),
                el("button", "Sign out"),
                method="post",
                action="/signout",
            )
        else:
            content = el(
                "form",
                el("p", badge("broken", wrong), role="alert") if wrong else None,
                el("label", "Token", for_="token"),
                el("input", id="token", name="token", type="password", required=True,
                   autocomplete="current-password", autofocus=True),
                el("button", "Sign in"),
                el("p", "It is what http.token of this node says.", class_="note"),
                method="post",
                action=PATH,
                class_="bar",
            )  # fmt: skip
        return document("Sign in", PATH, content, live=False)


def session_of(request: HTTPConnection) -> str:
    """The session of a request; empty for none."""
    return request.cookies.get(COOKIE, "")
