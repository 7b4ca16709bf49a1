"""Mishards: a distributed vector search system that speaks the Milvus API.

The package imports nothing at load: `mishards.start` resolves on first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mishards.embedded import EmbeddedServer, start

__all__ = ["EmbeddedServer", "__version__", "start"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in ("start", "EmbeddedServer"):
        return getattr(importlib.import_module("mishards.embedded"), name)
    raise AttributeError(f"module 'mishards' has no attribute {name!r}")
