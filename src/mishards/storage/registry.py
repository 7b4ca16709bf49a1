"""Opens shared storage by its URL."""

from __future__ import annotations

from pathlib import Path

from mishards.core.plugins import load
from mishards.core.runtime import Runtime
from mishards.storage.local import LocalStore
from mishards.storage.protocol import ObjectStore

BUILTIN = {
    "file": "mishards.storage.local:open_local",
    "memory": "mishards.storage.memory:open_memory",
    "s3": "mishards.storage.s3:open_s3",
}


def open_store(url: str, runtime: Runtime) -> ObjectStore:
    """The store of `url`: `file:///folder`, a plain path, `s3://bucket/prefix`, `memory://name`.

    The scheme of a URL is the name of a plugin of kind `storage`, a factory called with
    `(url, runtime)`.

    Raises:
        ConfigError: the URL cannot be used; names it.
        PluginError: an unknown scheme; lists the known ones.
    """
    scheme, separator, _ = url.partition("://")
    if not separator:
        return LocalStore(Path(url).expanduser(), runtime)
    store: ObjectStore = load("storage", scheme, BUILTIN)(url, runtime)
    return store
