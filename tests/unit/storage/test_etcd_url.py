from __future__ import annotations

import pytest

from mishards.core.errors import ConfigError
from mishards.storage.etcd_url import EtcdUrl, parse_etcd_url


def test_members_and_prefix_are_read() -> None:
    found = parse_etcd_url("etcd://a:1,b,[::1]:3/lab/one")
    assert found == EtcdUrl((("a", 1), ("b", 2379), ("::1", 3)), "lab/one")
    assert found.name == "etcd://a:1,b:2379,[::1]:3/lab/one"


@pytest.mark.parametrize("url", ["etcd://a", "etcd://a/", "etcd://a:2379/mishards"])
def test_the_prefix_has_a_default(url: str) -> None:
    assert parse_etcd_url(url) == EtcdUrl((("a", 2379),), "mishards")


def test_certificates_are_files() -> None:
    found = parse_etcd_url("etcd://a/p?ca=/ca.pem&cert=/c.pem&key=/k.pem")
    assert (found.ca, found.cert, found.key) == ("/ca.pem", "/c.pem", "/k.pem")
    assert "pem" not in found.name


def test_an_account_is_read_and_not_shown() -> None:
    found = parse_etcd_url("etcd://me:p%40ss%3A@a:1,b:2/p")
    assert (found.user, found.password.reveal(), found.endpoints) == (
        "me",
        "p@ss:",
        (("a", 1), ("b", 2)),
    )
    assert found.name == "etcd://a:1,b:2/p"
    with pytest.raises(ConfigError) as refused:
        parse_etcd_url("etcd://secret@a/p")
    assert "secret" not in refused.value.message


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("etcd:///p", "an empty host"),
        ("etcd://a,,b/p", "an empty host"),
        ("etcd://a:x/p", "'x'"),
        ("etcd://a:99999/p", "out of range"),
        ("etcd://secret@a/p", "an account is user:password"),
        ("etcd://a/p?tls=1", "unknown parameter 'tls'; known are: ca, cert, key"),
        ("etcd://a/p?cert=c&ca=x", "need each other"),
        ("etcd://a/p?cert=c&key=k", "need ca"),
        ("http://a/p", "expected etcd://"),
    ],
)
def test_what_is_wrong_is_named(url: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        parse_etcd_url(url)
