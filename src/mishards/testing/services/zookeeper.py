"""A ZooKeeper server for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kazoo.client import KazooClient
from kazoo.handlers.threading import KazooTimeoutError

from mishards.testing.services.server import Server, lacking, program

_JARS = Path("/usr/share/java")
# Only what it needs: it looks through all of them at its start.
_NEEDED = (
    *("zookeeper", "zookeeper-jute", "slf4j-api", "metrics-core", "snappy-java"),
    *("netty-buffer", "netty-codec", "netty-common", "netty-handler", "netty-resolver"),
    *("netty-transport", "netty-transport-native-epoll", "netty-transport-native-unix-common"),
    "netty-tcnative",
)
_TICK_MS = 250
"""Sessions may be as short as two ticks."""


class ZooKeeper(Server):
    """See `Server`; alone, not a member of an ensemble."""

    name = "ZooKeeper"

    @classmethod
    def missing(cls) -> str:
        jar = _JARS / "zookeeper.jar"
        return lacking(cls.name, program("java"), str(jar) if jar.exists() else None)

    @property
    def endpoint(self) -> str:
        """`host:port` for clients."""
        return f"127.0.0.1:{self.port}"

    def prepare(self) -> None:
        lines = [f"{key}={value}\n" for key, value in self.settings().items()]
        (self.folder / "zoo.cfg").write_text("".join(lines))

    def settings(self) -> dict[str, object]:
        """Of the server, as in its `zoo.cfg`."""
        return {
            "dataDir": self.folder / "data",
            "tickTime": _TICK_MS,
            "clientPort": self.port,
            "clientPortAddress": "127.0.0.1",
            "admin.enableServer": "false",
            "maxClientCnxns": 0,
        }

    def command(self) -> Sequence[str]:
        return (
            str(program("java")),
            *("-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"),
            *("-cp", ":".join(str(_JARS / f"{name}.jar") for name in _NEEDED)),
            "org.apache.zookeeper.server.quorum.QuorumPeerMain",
            str(self.folder / "zoo.cfg"),
        )

    def answers(self) -> bool:
        client = KazooClient(self.endpoint, timeout=5)
        try:
            client.start(timeout=1)
        except KazooTimeoutError:
            return False
        client.stop()
        client.close()
        return True

    def database(self, name: str) -> str:
        """The URL of a part of the tree that nobody used before."""
        return f"zookeeper://{self.endpoint}/{name}"
