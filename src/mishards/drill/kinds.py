"""The faults that can be drilled."""

from __future__ import annotations

from typing import NamedTuple

from mishards.core.errors import InvalidParameter
from mishards.rpc.messages.drills import LONGEST_S, DrillFault


class Kind(NamedTuple):
    """One drill.

    Attributes:
        role: of the node that the fault is for; of writers it is the leader.
        fault: what it is told to do.
        says: the same, for people; `{node}` stands for the node.
        ends: whether the process ends, so that somebody has to start it again.
    """

    name: str
    role: str
    fault: DrillFault
    says: str
    ends: bool = False


KINDS = {
    kind.name: kind
    for kind in (
        Kind("kill-reader", "reader", "kill", "kill -9 {node}", ends=True),
        Kind("kill-writer", "writer", "kill", "kill -9 {node}", ends=True),
        Kind("pause-writer", "writer", "pause", "stop {node}, alive, for {seconds:g} s"),
        Kind("cut-storage", "writer", "fail_storage", "keep storage from {node} for {seconds:g} s"),
    )
}


class Order(NamedTuple):
    """What to do.

    Attributes:
        seconds: how long a pause or a cut lasts, and traffic goes on at least after a kill.
        calm_s: how long traffic is measured before the fault, and after all is well again.
        patience_s: how long a killed node may take to come back.
        node: the reader to harm; empty for one that serves the drill's own rows.
        everywhere: storage is kept from all nodes.
        stall: storage stands still, rather than fails.
        even_so: though it is an outage by design.
        uris: of proxies; empty for those of the registry.
        authority: PEM file that certificates of TLS proxies are verified with.
        clients: how many are at work.
    """

    kind: Kind
    seconds: float = 5.0
    calm_s: float = 3.0
    patience_s: float = 60.0
    node: str = ""
    everywhere: bool = False
    stall: bool = False
    even_so: bool = False
    uris: tuple[str, ...] = ()
    authority: str = ""
    clients: int = 3

    def check(self) -> None:
        """Raises InvalidParameter where parts do not go together."""
        storage = self.kind.name == "cut-storage"
        if not self.kind.ends and not 0 < self.seconds <= LONGEST_S:
            raise InvalidParameter(
                f"a fault of {self.seconds:g} s is not allowed: up to {LONGEST_S:g} are"
            )
        if (self.everywhere or self.stall) and not storage:
            raise InvalidParameter(
                f"--everywhere and --stall are for cut-storage: {self.kind.name}"
            )
        if self.node and self.kind.role == "writer":
            raise InvalidParameter(
                f"--node is for kill-reader: {self.kind.name} is for the writer that leads"
            )

    @property
    def fault(self) -> DrillFault:
        return "stall_storage" if self.stall else self.kind.fault

    def described(self, node: str) -> str:
        """What is done to a node, for people."""
        said = self.kind.says.format(node=node, seconds=self.seconds)
        return f"{said}, which then stands still" if self.stall else said
