"""A data set belongs to one cluster: storage, metadata database and configuration have to agree."""

from __future__ import annotations

from pathlib import Path

import pytest

import mishards
from mishards.core.errors import DataInUse
from mishards.testing.client_rows import connected


def test_data_of_another_cluster_is_refused_and_stays_as_it_was(tmp_path: Path) -> None:
    with mishards.start(tmp_path / "a", cluster__id="north"):
        pass
    with pytest.raises(DataInUse, match="'north', not 'south'"):
        mishards.start(tmp_path / "a", cluster__id="south")
    with mishards.start(tmp_path / "a") as server, connected(server.uri) as client:
        assert client.list_collections() == []


def test_the_database_of_other_data_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with mishards.start(tmp_path / name):
            pass
    other = f"sqlite:///{tmp_path}/b/metadata.db"
    with pytest.raises(DataInUse, match=r"belongs to cluster '[0-9a-f]{16}', not '[0-9a-f]{16}'"):
        mishards.start(tmp_path / "a", cluster__metadata=other)
