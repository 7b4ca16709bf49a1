"""Opens a registry by its name or URL."""

from __future__ import annotations

from collections.abc import Sequence

from mishards.core.plugins import load
from mishards.core.runtime import Runtime
from mishards.discovery.protocol import Registry

_SQL = "mishards.discovery.sql:open_sql"
BUILTIN = {
    "memory": "mishards.discovery.memory:open_memory",
    "static": "mishards.discovery.static:open_static",
    "file": "mishards.discovery.file:open_file",
    "dns": "mishards.discovery.dns:open_dns",
    "sql": _SQL,
    "sqlite": _SQL,
    "mysql": _SQL,
    "mariadb": _SQL,
    "postgresql": _SQL,
    "etcd": "mishards.discovery.etcd:open_etcd",
    "consul": "mishards.discovery.consul:open_consul",
    "zookeeper": "mishards.discovery.zookeeper:open_zookeeper",
    "kubernetes": "mishards.discovery.kubernetes:open_kubernetes",
}

TTL_S = 3.0


def open_registry(
    name: str,
    runtime: Runtime,
    *,
    url: str = "",
    nodes: Sequence[str] = (),
    ttl_s: float = TTL_S,
) -> Registry:
    """The registry called `name`: one of `BUILTIN`, a plugin, or a URL of one.

    A plugin of kind `discovery` is a factory called as `(runtime, url=…, nodes=…, ttl_s=…)`.

    Args:
        name: a name, or a URL whose scheme is the name; it then takes the place of `url`.
        url: where the registry lies: for `sql` an SQLAlchemy URL, for `etcd` an
            `etcd://` one, for `memory` a name.
        nodes: for `static`: `role@address` of every node, see `discovery.static`.
        ttl_s: a node that was not renewed for so long is gone.

    Raises:
        ConfigError: the URL or the nodes cannot be used.
        PluginError: no such registry; lists the known ones.
    """
    scheme, separator, _ = name.partition("://")
    if separator:
        name, url = scheme.partition("+")[0], name
    registry: Registry = load("discovery", name, BUILTIN)(
        runtime, url=url, nodes=nodes, ttl_s=ttl_s
    )
    return registry
