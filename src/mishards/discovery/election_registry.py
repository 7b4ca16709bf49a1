"""Opens an election by its name or URL."""

from __future__ import annotations

from mishards.core.plugins import load
from mishards.core.runtime import Runtime
from mishards.discovery.election import Election

_SQL = "mishards.discovery.election_sql:open_sql"
BUILTIN = {
    "memory": "mishards.discovery.election_memory:open_memory",
    "sql": _SQL,
    "sqlite": _SQL,
    "mysql": _SQL,
    "mariadb": _SQL,
    "postgresql": _SQL,
    "etcd": "mishards.discovery.election_etcd:open_etcd",
    "consul": "mishards.discovery.election_consul:open_consul",
    "zookeeper": "mishards.discovery.election_zookeeper:open_zookeeper",
    "kubernetes": "mishards.discovery.election_kubernetes:open_kubernetes",
}


def open_election(name: str, runtime: Runtime, *, url: str = "") -> Election:
    """The election called `name`, a plugin, or a URL of one.

    A plugin of kind `election` is a factory called as `(runtime, url=…)`.

    Args:
        name: a name, or a URL whose scheme is the name; it then takes the place of `url`.
        url: where the leases lie: for `sql` an SQLAlchemy URL, for `etcd` an `etcd://` one, for
            `memory` a name.

    Raises:
        ConfigError: the URL cannot be used.
        PluginError: no such election; lists the known ones.
    """
    scheme, separator, _ = name.partition("://")
    if separator:
        name, url = scheme.partition("+")[0], name
    election: Election = load("election", name, BUILTIN)(runtime, url=url)
    return election
