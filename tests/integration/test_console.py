"""The console of a node that runs: who gets it, and what every answer says to browsers."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

import mishards
from mishards.testing.local_cluster import free_port

Answer = tuple[int, dict[str, str], str]


def get(port: int, path: str, **headers: str) -> Answer:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, dict(answer.headers), answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read().decode()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    chosen = free_port()
    with mishards.start(http__enabled=True, http__port=chosen, proxy__linger_s=0):
        yield chosen


def test_pages_and_their_data_are_served_with_what_keeps_them_safe(port: int):
    for path in ("/", "/collections", "/api/v1/overview", "/assets/console.css"):
        status, headers, body = get(port, path)
        assert status == 200, body
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
    found = json.loads(get(port, "/api/v1/overview")[2])
    assert found["verdict"] == "healthy"
    assert [role["serving"] for role in found["roles"]] == [1, 1, 1]
    assert found["logs"][0]["answers"] is True


def test_other_names_methods_and_paths_get_nothing(port: int):
    assert get(port, "/", Host="evil.example")[0] == 403
    assert get(port, "/api/v1/overview", Host="evil.example:9091")[0] == 403
    for path in ("/assets/routes.py", "/assets/..%2froutes.py", "/nothing"):
        assert get(port, path)[0] == 404
