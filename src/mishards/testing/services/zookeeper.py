"""A ZooKeeper server for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kazoo.client import KazooClient
from kazoo.handlers.threading import KazooTimeoutError

from mishards.testing.services.server import Server, lacking, program

_JARS = ("/usr/share/java", "/usr/share/zookeeper/lib")
_TICK_MS = 250
"""Sessions may be as short as two ticks."""


class ZooKeeper(Server):
    """See `Server`; alone, not a member of an ensemble."""

    name = "ZooKeeper"

    @classmethod
    def missing(cls) -> str:
        jar = Path(_JARS[0]) / "zookeeper.jar"
        return lacking(cls.name, program("java"), str(jar) if jar.exists() else None)

    @property
    def endpoint(self) -> str:
        """`host:port` for clients."""
        return f"127.0.0.1:{self.port}"

    def prepare(self) -> None:
        settings = {
            "dataDir": self.folder / "data",
            "tickTime": _TICK_MS,
            "clientPort": self.port,
            "clientPortAddress": "127.0.0.1",
            "admin.enableServer": "false",
            "maxClientCnxns": 0,
        }
        lines = [f"{key}={value}\n" for key, value in settings.items()]
        (self.folder / "zoo.cfg").write_text("".join(lines))

    def command(self) -> Sequence[str]:
        return (
            str(program("java")),
            *("-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"),
            *("-cp", ":".join(f"{folder}/*" for folder in _JARS)),
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
