"""The whole configuration: one struct per section."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from mishards.api.http.config import HttpConfig
from mishards.core.config import Loaded, load
from mishards.core.errors import ConfigError
from mishards.core.secret import ConfidentialUrl, Secret, redact, secrets_in
from mishards.observability.config import TracingConfig
from mishards.observability.export.endpoint import values_in
from mishards.proxy.config import ProxyConfig, RecallConfig
from mishards.reader.config import ReaderConfig
from mishards.writer.config import WriterConfig


class ClusterConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What all nodes of a cluster agree on.

    Attributes:
        id: name of the cluster; a data set that belongs to another is refused, and so are nodes of
            another. Empty for that of the data set, which gets one at its first start.
        data: shared storage: a folder, or a URL of a storage plugin.
        metadata: URL of the metadata store: `sqlite:///…`, `mariadb://…`, `mysql://…`,
            `postgresql://…`, `etcd://host:port[,host:port]/prefix`, or of a plugin; empty for
            SQLite in the data folder.
        discovery: how nodes find each other: `sql` or `etcd` (beside the metadata), `static`,
            `kubernetes`, a plugin, or a URL of one such as `file:///folder/nodes.toml`,
            `dns:///_service._tcp.name`, `zookeeper://host:port[,host:port]/prefix` or
            `consul://host:port/prefix`; empty for the metadata store.
        election: where writers elect leaders: `sql` or `etcd` (beside the metadata),
            `kubernetes`, a plugin, or a URL of one such as
            `zookeeper://host:port[,host:port]/prefix` or `consul://host:port/prefix`; empty for
            the metadata store.
        nodes: for `static`: `role@address` of every node.
        routing: policy that maps segments to readers: `consistent_hash`, `rendezvous`, a plugin.
        logs: how many logs collections are spread over; each is led by one of the writers. More
            than metadata has are begun; those with collections stay when it is less.
        secret: shared by all nodes; a peer without it is refused. Empty for none.
        tls_certificate: PEM file: nodes speak mutual TLS with each other over TCP; needs `tls_key`
            and `tls_ca`, and all nodes need them. The files are read again when they change.
        tls_key: PEM file, not encrypted.
        tls_ca: PEM file: the authority that the certificates of all nodes are of. It has to be the
            cluster's own: who has a certificate of it is a node.
        drills: the node lets `mishards drill` kill it, stop it, and keep storage from it, which
            whoever knows the secret may ask for; needs `secret` or TLS, unless it listens on this
            machine alone.
        log_level: least level of the log: debug, info, warning or error.
    """

    id: str = ""
    data: str = "mishards-data"
    metadata: ConfidentialUrl = ""
    discovery: ConfidentialUrl = ""
    election: ConfidentialUrl = ""
    nodes: tuple[str, ...] = ()
    routing: str = "consistent_hash"
    logs: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    secret: Secret = Secret()
    tls_certificate: str = ""
    tls_key: str = ""
    tls_ca: str = ""
    drills: bool = False
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class NodeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What is this node's own.

    Attributes:
        id: its name in the cluster; empty for one made of role, host and process.
        listen: address of the internal protocol: `tcp://host:port` (port 0 takes a free one) or
            `unix:///path`.
        advertise: address at which other nodes reach this one, where that is another than it
            listens on, as for `tcp://0.0.0.0:port` or behind a translation of addresses; port 0
            stands for the port it listens on.
        heartbeat_s: how often it renews its entry in the registry.
        idle_s: a connection to another node on which nothing was heard for so long is made anew
            for the next call: a machine between may have forgotten it without a word.
    """

    id: str = ""
    listen: str = "tcp://127.0.0.1:0"
    advertise: str = ""
    heartbeat_s: float = 0.5
    idle_s: float = 30.0


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be set, by section."""

    cluster: ClusterConfig = ClusterConfig()
    node: NodeConfig = NodeConfig()
    proxy: ProxyConfig = ProxyConfig()
    writer: WriterConfig = WriterConfig()
    reader: ReaderConfig = ReaderConfig()
    http: HttpConfig = HttpConfig()
    tracing: TracingConfig = TracingConfig()
    recall: RecallConfig = RecallConfig()

    @property
    def metadata_url(self) -> str:
        """Where metadata lies, the default worked out.

        Raises:
            ConfigError: the data is no local folder, so there is no default.
        """
        if self.cluster.metadata:
            return self.cluster.metadata
        return f"sqlite:///{self.data_folder / 'metadata.db'}"

    @property
    def has_data_folder(self) -> bool:
        """Whether the data lies in a folder."""
        return "://" not in self.cluster.data.removeprefix("file://")

    @property
    def data_folder(self) -> Path:
        """The data folder, absolute.

        Raises:
            ConfigError: the data lies elsewhere than in a folder.
        """
        if not self.has_data_folder:
            raise ConfigError(
                f"cluster.data = {redact(self.cluster.data)!r} is no folder: set cluster.metadata "
                "to the URL of a database"
            )
        return Path(self.cluster.data.removeprefix("file://")).expanduser().absolute()

    def require_data(self) -> None:
        """For those who look at a cluster without being part of it: make no data set by looking.

        Raises:
            ConfigError: the data folder does not exist.
        """
        if self.has_data_folder and not self.data_folder.is_dir():
            raise ConfigError(f"cluster.data = {str(self.data_folder)!r} does not exist")


def hidden_in(config: Config) -> tuple[str, ...]:
    """All values that are to be hidden wherever they turn up, longest first."""
    hidden = {*secrets_in(config), *values_in(config.tracing.headers.reveal())}
    return tuple(sorted(hidden, key=len, reverse=True))


def load_config(
    file: Path | None = None,
    options: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Loaded[Config]:
    """Fill the configuration; see `core.config.load`. `environ` defaults to the process's."""
    return load(
        Config, file=file, environ=os.environ if environ is None else environ, options=options
    )
