"""URLs of collectors, and the headers for them."""

from __future__ import annotations

import pytest

from mishards.core.errors import ConfigError
from mishards.observability.export.endpoint import parse_endpoint, parse_headers

PORTS = {"http": 4318, "grpc": 4317}


def test_a_url_is_taken_apart() -> None:
    found = parse_endpoint("http://me:p%40ss@[::1]/v1/traces/?token=hush", PORTS)
    assert (found.scheme, found.host, found.port) == ("http", "::1", 4318)
    assert found.account == "me:p@ss"
    assert found.path == "/v1/traces?token=hush"
    assert found.address == "[::1]:4318"
    assert found.name == "http://[::1]:4318/v1/traces?token=***"
    assert parse_endpoint("grpc://c:1", PORTS).name == "grpc://c:1"
    assert parse_endpoint("http://c/", PORTS).path == ""


@pytest.mark.parametrize("url", ["c:4318", "https://c", "http://", "http://c:x", "file:///c"])
def test_what_is_no_endpoint_is_refused_by_name(url: str) -> None:
    with pytest.raises(ConfigError, match=r"tracing\.endpoint = '.*is not allowed"):
        parse_endpoint(url, PORTS)


def test_a_refusal_shows_no_password() -> None:
    with pytest.raises(ConfigError) as refused:
        parse_endpoint("ftp://me:hush@c", PORTS)
    assert "hush" not in str(refused.value)
    assert "http://host:port or grpc://host:port" in str(refused.value)


def test_headers_are_read() -> None:
    assert parse_headers("") == {}
    assert parse_headers("Authorization=Bearer a=b, x-scope = one%2Ctwo ,") == {
        "authorization": "Bearer a=b",
        "x-scope": "one,two",
    }


@pytest.mark.parametrize("text", ["hush", "=hush", "a b=hush", "a=hush%0Ahush", "a=h\u00fcsh"])
def test_headers_of_another_form_are_refused_without_showing_them(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^tracing\.headers: ") as refused:
        parse_headers(text)
    assert "sh" not in str(refused.value)
