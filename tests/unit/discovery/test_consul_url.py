"""URLs of Consul: what is shared with other systems is tested with etcd's."""

from __future__ import annotations

import pytest

from mishards.core.errors import ConfigError
from mishards.core.secret import Secret
from mishards.discovery.consul_url import ConsulUrl, parse_consul_url


def test_agent_prefix_and_token_are_read() -> None:
    found = parse_consul_url("consul://token:s%3Acret@a/lab/one")
    assert found == ConsulUrl((("a", 8500),), "lab/one", user="token", password=Secret("s:cret"))
    assert found.name == "consul://a:8500/lab/one"
    assert found.service == "lab-one"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("consul://a,b/p", "one agent is expected"),
        ("consul://me:secret@a/p", "an account is token:<ACL token>"),
        ("consul://a/__", "a prefix has a letter or digit"),
        ("etcd://a/p", "expected consul://"),
    ],
)
def test_what_is_wrong_is_named_without_the_token(url: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as refused:
        parse_consul_url(url)
    assert "secret" not in refused.value.message
