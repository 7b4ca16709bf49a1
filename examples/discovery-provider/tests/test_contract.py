"""The registry does what every registry has to; found by its name, as it is installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from mishards.core.errors import ConfigError
from mishards.core.runtime import Runtime, SystemRuntime
from mishards.discovery.protocol import Registry
from mishards.discovery.registry import open_registry
from mishards.testing.registry_contract import TTL_S, RegistryContract


class TestFolderRegistry(RegistryContract):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.url = f"folder://{tmp_path}/nodes"

    async def open(self, runtime: Runtime) -> Registry:
        return open_registry(self.url, runtime, ttl_s=TTL_S)


def test_a_url_without_a_folder_is_refused() -> None:
    with pytest.raises(ConfigError, match="folder:///path"):
        open_registry("folder://host/nodes", SystemRuntime())
