from __future__ import annotations

import pytest

from mishards.core.errors import ConfigError
from mishards.storage.keys import check_key, check_prefix


@pytest.mark.parametrize("key", ["a", "log/0/00000000000000000001", "a.b/c-d_e/f=1+2", "-a/_b"])
def test_accepts(key: str) -> None:
    check_key(key)
    check_prefix(key)
    check_prefix(key + "/")


@pytest.mark.parametrize("key", ["", "/", "a/", "/a", "..", "a/..", "a/.b", "a\n", "a\\b", "a:b"])
def test_refuses(key: str) -> None:
    with pytest.raises(ConfigError, match="invalid object key"):
        check_key(key)


def test_an_empty_prefix_means_all() -> None:
    check_prefix("")
