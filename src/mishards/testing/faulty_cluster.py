"""A cluster of real processes, with faults on chosen links and at the seams of each process.

Invariants: a node keeps its name, its addresses and its faults over its lives; a link between two
nodes exists once it was asked for, and until then they are connected directly.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from mishards.testing.fault_control import CONTROL_VARIABLE, FaultControl
from mishards.testing.fault_proxy import FaultNetwork, FaultProxy
from mishards.testing.local_cluster import LocalProcess, wait_for
from mishards.testing.named_cluster import NamedCluster


class FaultyCluster(NamedCluster):
    """See `NamedCluster`.

    Attributes:
        network: the proxies of all links.
    """

    def __init__(self, folder: Path, *settings: str, data: Path | None = None) -> None:
        super().__init__(folder, *settings, data=data)
        self.network = FaultNetwork()
        self._controls: dict[str, FaultControl] = {}

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
