from __future__ import annotations

from pathlib import Path

import pytest

from mishards.core.errors import ConfigError, PluginError
from mishards.core.runtime import SystemRuntime
from mishards.metadata.memory import MemoryMetadataStore
from mishards.metadata.registry import open_metadata_store
from mishards.metadata.sql import SqlMetadataStore


def test_the_scheme_chooses_the_store(tmp_path: Path) -> None:
    runtime = SystemRuntime(threads=1)
    memory = open_metadata_store("memory://metadata-here", runtime)
    assert isinstance(memory, MemoryMetadataStore)
    assert open_metadata_store("memory://metadata-here", runtime) is memory
    assert open_metadata_store("memory://", runtime) is not memory
    for url in (f"sqlite:///{tmp_path}/a.db", f"sqlite+pysqlite:///{tmp_path}/a.db"):
        assert isinstance(open_metadata_store(url, runtime), SqlMetadataStore)


def test_a_url_without_a_scheme_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'metadata\.db': expected sqlite"):
        open_metadata_store("metadata.db", SystemRuntime(threads=1))


def test_an_unknown_scheme_lists_the_known_ones() -> None:
    with pytest.raises(PluginError, match=r"'gopher'.*memory.*sqlite"):
        open_metadata_store("gopher://a", SystemRuntime(threads=1))
