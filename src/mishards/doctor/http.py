"""The HTTP endpoint of nodes: who may ask it?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mishards.doctor.findings import Check, Finding
from mishards.doctor.nodes import NodeFacts, is_loopback
from mishards.server.config import Config

OPEN = Check(
    "http.open",
    "Is the HTTP endpoint closed to other machines, or guarded by a token?",
    "whoever reaches it sees names, sizes and searches of all collections",
)
CHECKS = (OPEN,)


def judge_http(config: Config, nodes: Sequence[NodeFacts]) -> Iterator[Finding]:
    """What follows from where nodes listen for HTTP."""
    places = {node.id: node.now.http for node in nodes if node.answers and node.now.http}
    if not places and config.http.enabled:
        places = {"http.host": f"{config.http.host}:{config.http.port or 0}"}
    open_places = {name: at for name, at in places.items() if not is_loopback(at)}
    for name, address in open_places.items():
        yield OPEN.note(
            f"{name} answers HTTP at {address}, and needs no token",
            "let a firewall or http.host keep others out",
        )
    if not open_places:
        yield OPEN.ok("it is reached from its own machine alone")
