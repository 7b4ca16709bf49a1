"""A cluster of real processes whose nodes keep their names and addresses over their lives."""

from __future__ import annotations

import time
from pathlib import Path

from mishards.testing.local_cluster import LocalCluster, LocalProcess, free_port, wait_for


class NamedCluster(LocalCluster):
    """Processes by name (`writer-1`, `reader-2`, `proxy-1`, …); a context manager.

    Attributes:
        nodes_by_name: the present life of each node that was started.
    """

    def __init__(
        self, folder: Path, *settings: str, data: Path | None = None, url: str = ""
    ) -> None:
        super().__init__(folder, *settings, data=data, url=url)
        self.nodes_by_name: dict[str, LocalProcess] = {}
        self._ports: dict[str, int] = {}
        self._edges: dict[str, int] = {}
        self._options_of: dict[str, tuple[str, ...]] = {}

    def add(self, name: str, *options: str) -> LocalProcess:
        """Start a node; its role is what its name begins with. Not waited for."""
        self._options_of[name] = options
        return self.restart(name)

    def restart(self, name: str) -> LocalProcess:
        """A further life of a node that has ended; not waited for."""
        command = name.partition("-")[0]
        options = (*self._options_of[name], "--listen", f"tcp://127.0.0.1:{self._port(name)}")
        if command == "proxy":
            options = (*options, "--port", str(self._edge(name)))
        found = self.start(command, *options, name=name)
        self.nodes_by_name[name] = found
        return found

    def add_all(self, writers: int = 1, readers: int = 2, proxies: int = 1) -> None:
        """So many of each, all serving."""
        counts = {"writer": writers, "reader": readers, "proxy": proxies}
        names = [f"{role}-{n + 1}" for role, count in counts.items() for n in range(count)]
        for process in [self.add(name) for name in names]:
            process.wait_ready()

    def __getitem__(self, name: str) -> LocalProcess:
        """The present life of a node."""
        return self.nodes_by_name[name]

    def named(self, role: str) -> list[str]:
        """The names of all nodes of a role."""
        return [name for name in self.nodes_by_name if name.startswith(f"{role}-")]

    def leader(self) -> str:
        """The writer that leads, as the registry says it.

        Raises:
            TimeoutError: none does.
        """

        def leading() -> str:
            found = [n.id for n in self.nodes().values() if n.leads]
            return found[0] if len(found) == 1 else ""

        return wait_for(leading, "one writer leads")

    @property
    def uris(self) -> list[str]:
        """Of all proxies that were started."""
        return [f"http://127.0.0.1:{self._edge(name)}" for name in self.named("proxy")]

    @property
    def uri(self) -> str:
        return self.uris[0]

    def agree(self, patience_s: float = 5.0) -> float:
        """Wait until all nodes that were started serve at one metadata version; how long it took.

        Raises:
            TimeoutError: they did not in time.
        """
        began = time.monotonic()

        def agreed() -> bool:
            nodes = self.nodes()
            versions = {
                node.metadata_version for node in nodes.values() if "writer" not in node.roles
            }
            return (
                set(self.nodes_by_name) <= set(nodes)
                and all(node.ready for node in nodes.values())
                and len(versions) <= 1
            )

        wait_for(agreed, "all nodes serve at one metadata version", patience_s)
        return time.monotonic() - began

    def _port(self, name: str) -> int:
        return self._ports.setdefault(name, free_port())

    def _edge(self, name: str) -> int:
        return self._edges.setdefault(name, free_port())
