"""What the HTTP endpoint lets pass, by settings, path, method and headers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.requests import HTTPConnection

from mishards.api.http.config import HttpConfig
from mishards.api.http.guard import Access, Guard, on_loopback, token_shown
from mishards.core.errors import ConfigError
from mishards.core.secret import Secret

TOKEN, SCRAPER = "a-long-t0ken", "scr4per"
HEADER = {"authorization": f"Bearer {TOKEN}"}
BOTH = HttpConfig(token=Secret(TOKEN), metrics_token=Secret(SCRAPER))
ACCESS = Access(
    open=frozenset({"/login"}),
    reads=frozenset({"/search"}),
    ways=[lambda request: request.headers.get("cookie") == "proof"],
)


def asked(
    config: HttpConfig, path: str, method: str = "GET", access: Access = ACCESS, **headers: str
) -> tuple[int, dict[str, str], bool]:
    """Status, headers, and whether the application was told that the token was shown."""
    sent: list[dict[str, Any]] = []
    told = False

    async def application(scope: Any, receive: Any, send: Any) -> None:
        nonlocal told
        told = token_shown(HTTPConnection(scope))
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Any) -> None:
        sent.append(message)

    named = {"host": "127.0.0.1:9091"} | headers
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "headers": [(k.encode(), v.encode()) for k, v in named.items()],
    }
    asyncio.run(Guard(application, config, access)(scope, None, send))  # type: ignore[arg-type]
    answer = {k.decode(): v.decode() for k, v in sent[0]["headers"]}
    return sent[0]["status"], answer, told


def status(config: HttpConfig, path: str, method: str = "GET", **headers: str) -> int:
    return asked(config, path, method, **headers)[0]


@pytest.mark.parametrize("path", ["/", "/any", "/metrics", "/search", "/healthz/", "//healthz"])
def test_all_but_health_needs_the_token(path: str) -> None:
    config = HttpConfig(token=Secret(TOKEN))
    code, headers, _ = asked(config, path)
    assert code == 401
    assert headers["www-authenticate"].startswith("Bearer")
    assert status(config, path, authorization=f"bearer  {TOKEN}") == 200
    for wrong in (TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer "):
        assert status(config, path, authorization=wrong) == 401


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/login"])
@pytest.mark.parametrize("config", [BOTH, HttpConfig(), HttpConfig(host="0.0.0.0")])
def test_open_paths_need_none(path: str, config: HttpConfig) -> None:
    assert status(config, path, host="any.example") == 200


def test_a_scraper_sees_metrics_and_nothing_else() -> None:
    shown = {"authorization": f"Bearer {SCRAPER}"}
    assert status(BOTH, "/metrics", **shown) == 200
    assert status(BOTH, "/metrics", **HEADER) == 200
    assert status(BOTH, "/metrics") == 401
    assert status(BOTH, "/any", **shown) == 401
    assert status(BOTH, "/metrics", "POST", **shown) == 401
    assert not asked(BOTH, "/metrics", **shown)[2]
    alone = HttpConfig(metrics_token=Secret(SCRAPER))
    assert status(alone, "/metrics") == 401
    assert status(alone, "/metrics", **shown) == 200
    assert status(alone, "/any") == 200


def test_without_a_token_this_machine_may_look_and_change_nothing() -> None:
    for host in ("localhost:9091", "127.0.0.1", "[::1]:9091", "console.localhost"):
        assert status(HttpConfig(), "/any", host=host) == 200
    assert status(HttpConfig(), "/any", "POST") == 403
    assert status(HttpConfig(), "/search", "POST") == 200
    assert not asked(HttpConfig(), "/any", **HEADER)[2]


@pytest.mark.parametrize("host", ["rebound.example", "10.0.0.1", "", "[", "localhost.example"])
def test_a_name_of_elsewhere_is_not_this_machine(host: str) -> None:
    assert status(HttpConfig(), "/any", host=host) == 403
    assert status(HttpConfig(), "/metrics", host=host) == 200


def test_without_a_token_others_see_health_and_metrics() -> None:
    config = HttpConfig(host="0.0.0.0")
    assert status(config, "/metrics", host="node.example") == 200
    assert status(config, "/any") == 403
    assert status(config, "/search", "POST") == 403


def test_a_second_way_shows_the_token_only_where_there_is_one() -> None:
    assert asked(BOTH, "/any", "POST", cookie="proof") == (200, {}, True)
    assert status(BOTH, "/any", cookie="other") == 401
    assert status(HttpConfig(host="0.0.0.0"), "/any", cookie="proof") == 403
    assert asked(BOTH, "/any", access=Access(), cookie="proof")[0] == 401


@pytest.mark.parametrize("origin", ["https://elsewhere.example", "null", "http://127.0.0.1:1", "["])
def test_a_page_of_elsewhere_changes_nothing(origin: str) -> None:
    assert status(BOTH, "/any", "POST", cookie="proof", origin=origin) == 403
    assert status(BOTH, "/login", "POST", origin=origin) == 403
    assert status(HttpConfig(), "/search", "POST", origin=origin) == 403
    own = "https://127.0.0.1:9091"
    assert status(BOTH, "/any", "POST", cookie="proof", origin=own) == 200


def test_a_token_that_no_header_carries_is_refused() -> None:
    for text in ("two words", "naïve", "line\n"):
        with pytest.raises(ConfigError, match=r"http\.token") as told:
            Guard(None, HttpConfig(token=Secret(text)), Access())  # type: ignore[arg-type]
        assert text not in str(told.value)


def test_what_only_this_machine_reaches() -> None:
    assert all(map(on_loopback, ("127.0.0.1", "127.9.9.9", "::1", "[::1]", "LOCALHOST")))
    assert not any(map(on_loopback, ("0.0.0.0", "::", "10.0.0.1", "host", "")))
