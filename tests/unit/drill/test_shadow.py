"""The drill's own collection, where nobody answers."""

from __future__ import annotations

import pytest
from pymilvus import MilvusException

from mishards.core.errors import Unavailable
from mishards.drill import shadow
from mishards.drill.shadow import PREFIX, Shadow


def test_it_has_a_name_of_its_own() -> None:
    assert Shadow(["http://h:1"], "", "0a0b", 1).name == f"{PREFIX}0a0b"


def test_tls_is_spoken_where_an_address_says_so() -> None:
    assert not Shadow(["http://h:1"], "/ca.pem", "t", 1).work.options
    found = Shadow(["https://h:1"], "/ca.pem", "t", 1).work.options
    assert found == {"secure": True, "server_pem_path": "/ca.pem"}


def test_an_error_of_the_client_library_becomes_one_of_the_project() -> None:
    with (
        pytest.raises(Unavailable, match=r"cannot be made: .*no leader"),
        shadow._told("cannot be made"),
    ):
        raise MilvusException(message="no leader")
