"""Who may ask what of the HTTP endpoint.

Invariants: what is not named as open is closed; tokens are compared in constant time; a refusal
tells nothing of the token or of what is behind it. Without a token nothing can be changed, and
whoever asks has to be on this machine: its pages know their browser by the name in `Host`, so a
page of elsewhere that had its name point here is refused.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Callable, Sequence
from hashlib import sha256
from urllib.parse import urlsplit

import msgspec
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from mishards.api.http.config import HttpConfig
from mishards.core.errors import ConfigError
from mishards.core.secret import Secret

HEALTH = frozenset({"/healthz", "/readyz"})
METRICS = "/metrics"
_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_SHOWN = "mishards.token_shown"

Way = Callable[[HTTPConnection], bool]
"""Whether a request proves, otherwise than by the header, that its sender has shown the token."""


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """What routes ask of the guard, beyond the rules that hold for all.

    Attributes:
        open: paths that need no token, such as that of a login: they must tell and change nothing.
        reads: paths to which a POST changes nothing, so it is allowed to whoever may GET.
        ways: further ways to show the token.
        login: where a browser that asks for a page without the token is sent; empty for nowhere.
    """

    open: frozenset[str] = frozenset()
    reads: frozenset[str] = frozenset()
    ways: Sequence[Way] = ()
    login: str = ""


class Token:
    """A token that requests are compared with; an empty one is matched by nothing."""

    def __init__(self, secret: Secret, key: str) -> None:
        """`key`: the setting, for messages.

        Raises:
            ConfigError: it cannot stand in a header.
        """
        text = secret.reveal()
        if not (text.isascii() and text.isprintable() and " " not in text):
            raise ConfigError(f"{key} may hold letters, digits and signs of ASCII, and no blanks")
        self._digest = sha256(text.encode()).digest() if text else None

    def __bool__(self) -> bool:
        return self._digest is not None

    def matches(self, text: str) -> bool:
        """Whether it is this text; takes as long for every text of one length."""
        given = sha256(text.encode(errors="replace")).digest()
        return self._digest is not None and hmac.compare_digest(given, self._digest)


def token_shown(connection: HTTPConnection) -> bool:
    """Whether a request that passed the guard showed the token, for routes that answer more then.

    False where no token is set.
    """
    return bool(connection.scope.get(_SHOWN))


def on_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens at, or is meant by, `host`."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost" or host.lower().endswith(".localhost")


class Guard:
    """An ASGI application before another one."""

    def __init__(self, app: ASGIApp, config: HttpConfig, access: Access) -> None:
        """Raises:
        ConfigError: a token cannot be used.
        """
        self._app = app
        self._token = Token(config.token, "http.token")
        self._metrics_token = Token(config.metrics_token, "http.metrics_token")
        self._local = on_loopback(config.host)
        self._open = HEALTH | access.open
        self._reads = access.reads
        self._ways = tuple(access.ways)
        self._login = access.login

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError(f"no {scope['type']} is spoken here")
        request = HTTPConnection(scope)
        refusal = self._refusal(request)
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await refusal(scope, receive, send)

    def _refusal(self, request: HTTPConnection) -> Response | None:
        """What a request that may not pass is answered."""
        path, method = request.scope["path"], request.scope["method"]
        changes = method not in _READS and path not in self._reads
        if method not in _READS and not _same_origin(request):
            return _forbidden("a page of another origin may not do this")
        given = _bearer(request)
        shown = self._token.matches(given) or (
            bool(self._token) and any(way(request) for way in self._ways)
        )
        request.scope[_SHOWN] = shown
        if shown or path in self._open:
            return None
        if path == METRICS and method in _READS and (self._metrics_token or not self._token):
            allowed = not self._metrics_token or self._metrics_token.matches(given)
            return None if allowed else _unauthorised()
        if self._token:
            if self._login and method == "GET" and "text/html" in request.headers.get("accept", ""):
                return RedirectResponse(self._login, 303, headers={"Cache-Control": "no-store"})
            return _unauthorised()
        if changes or not (self._local and on_loopback(_host(request))):
            return _forbidden("not without a token: http.token is not set")
        return None


def _bearer(request: HTTPConnection) -> str:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    return given.strip() if scheme.lower() == "bearer" else ""


def _host(request: HTTPConnection) -> str:
    """The name by which the sender knows this endpoint; empty where it does not say."""
    try:
        return urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    except ValueError:
        return ""


def _same_origin(request: HTTPConnection) -> bool:
    """Whether the page that sent it, where a page did, came from this endpoint."""
    origin = request.headers.get("origin")
    if origin is None:
        return True
    try:
        return urlsplit(origin).netloc.lower() == request.headers.get("host", "").lower() != ""
    except ValueError:
        return False


def _unauthorised() -> JSONResponse:
    return JSONResponse(
        {"error": "unauthorized"},
        401,
        headers={"WWW-Authenticate": 'Bearer realm="mishards"', "Cache-Control": "no-store"},
    )


def _forbidden(why: str) -> JSONResponse:
    return JSONResponse({"error": why}, 403, headers={"Cache-Control": "no-store"})
