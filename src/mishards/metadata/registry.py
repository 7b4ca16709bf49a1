"""Opens a metadata store by its URL."""

from __future__ import annotations

from mishards.core.errors import ConfigError
from mishards.core.plugins import load
from mishards.core.runtime import Runtime
from mishards.core.secret import redact
from mishards.metadata.protocol import MetadataStore

_SQL = "mishards.metadata.sql:SqlMetadataStore"
BUILTIN = {
    "memory": "mishards.metadata.memory:open_memory",
    "sqlite": _SQL,
    "mysql": _SQL,
    "mariadb": _SQL,
    "postgresql": _SQL,
    "etcd": "mishards.metadata.etcd:EtcdMetadataStore",
}


def open_metadata_store(url: str, runtime: Runtime) -> MetadataStore:
    """The store of `url`: an SQLAlchemy URL (`sqlite:////folder/file`), `etcd://host:port/prefix`,
    or `memory://name`.

    What stands before `://` or `+` is the name of a plugin of kind `metadata`, a factory called
    with `(url, runtime)`.

    Raises:
        ConfigError: the URL cannot be used; names it.
        PluginError: an unknown scheme; lists the known ones.
    """
    scheme, separator, _ = url.partition("://")
    if not separator:
        raise ConfigError(
            f"invalid metadata URL {redact(url)!r}: expected sqlite:////folder/file or memory://name"
        )
    store: MetadataStore = load("metadata", scheme.partition("+")[0], BUILTIN)(url, runtime)
    return store
