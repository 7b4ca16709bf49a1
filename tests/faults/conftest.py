"""Clusters to do harm to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mishards.testing.local_cluster import LocalCluster


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A cluster of this test alone, nothing started."""
    with LocalCluster(tmp_path_factory.mktemp("cluster")) as found:
        yield found
