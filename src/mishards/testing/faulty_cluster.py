"""A cluster of real processes, with faults on chosen links and at the seams of each process.

Invariants: a node keeps its name, its addresses and its faults over its lives; a link between two
nodes exists once it was asked for, and until then they are connected directly.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from mishards.testing.fault_control import CONTROL_VARIABLE, FaultControl
from mishards.testing.fault_proxy import FaultNetwork, FaultProxy
from mishards.testing.local_cluster import LocalCluster, LocalProcess, free_port, wait_for


class FaultyCluster(LocalCluster):
    """Processes by name (`writer-1`, `reader-2`, `proxy-1`, …); a context manager.

    Attributes:
        network: the proxies of all links.
        nodes_by_name: the present life of each node that was started.
    """

    def __init__(self, folder: Path, *settings: str, data: Path | None = None) -> None:
        super().__init__(folder, *settings, data=data)
        self.network = FaultNetwork()
        self.nodes_by_name: dict[str, LocalProcess] = {}
        self._controls: dict[str, FaultControl] = {}
        self._ports: dict[str, int] = {}
        self._edges: dict[str, int] = {}
        self._options_of: dict[str, tuple[str, ...]] = {}

    # --- nodes ----------------------------------------------------------------------------------

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

    # --- faults ---------------------------------------------------------------------------------

    def freeze(self, name: str) -> None:
        """SIGSTOP a node at a moment at which it holds no lock of the SQLite database.

        Such a lock is a process's for as long as it lives: nobody could take anything over.
        """

        def frozen() -> bool:
            process = self.nodes_by_name[name]
            process.freeze()
            with closing(sqlite3.connect(self.data / "metadata.db", timeout=0.3)) as database:
                try:
                    database.execute("BEGIN IMMEDIATE")
                except sqlite3.OperationalError:
                    process.thaw()
                    return False
                database.rollback()
            return True

        wait_for(frozen, f"{name} stands still outside of a transaction")

    def faults(self, name: str) -> FaultControl:
        """What goes wrong inside a node, whether it runs or not."""
        if name not in self._controls:
            self._controls[name] = FaultControl(self.folder / f"{name}.faults")
        return self._controls[name]

    def link(self, source: str, target: str) -> FaultProxy:
        """The way from a node to another; `client` stands for all clients of a proxy, which use it
        when they connect to its `port`."""
        key = f"{source} > {target}"
        if key not in self.network.links:
            port = self._edge(target) if source == "client" else self._port(target)
            proxy = self.network.link(key, "127.0.0.1", port)
            if source != "client":
                self.faults(source).route(target, proxy.address)
        return self.network.links[key]

    def links(self, one: Iterable[str], other: Iterable[str]) -> list[FaultProxy]:
        """The ways both ways between nodes on two sides."""
        pairs = [(a, b) for a in one for b in other if a != b]
        return [self.link(*ends) for a, b in pairs for ends in ((a, b), (b, a))]

    def heal(self) -> None:
        """End all faults of links and nodes; what was frozen goes on."""
        self.network.heal()
        for control in self._controls.values():
            control.heal()
        for process in self.nodes_by_name.values():
            if process.exit_code is None:
                process.thaw()

    def close(self) -> None:
        self.heal()
        try:
            super().close()
        finally:
            self.network.close()

    def _make(self, name: str, arguments: tuple[str, ...]) -> LocalProcess:
        return LocalProcess(
            name,
            arguments,
            self.folder / f"{name}.log",
            self.temp,
            module="mishards.testing.faulty_process",
            environ={CONTROL_VARIABLE: str(self.faults(name).path)},
        )

    def _port(self, name: str) -> int:
        return self._ports.setdefault(name, free_port())

    def _edge(self, name: str) -> int:
        return self._edges.setdefault(name, free_port())
