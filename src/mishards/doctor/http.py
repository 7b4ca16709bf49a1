"""The HTTP endpoint of nodes: who may ask it?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mishards.doctor.findings import Check, Finding
from mishards.doctor.nodes import NodeFacts, is_loopback
from mishards.server.config import Config

OPEN = Check(
    "http.open",
    "Is the HTTP endpoint closed to other machines, or guarded by a token?",
    "whoever reaches it reads in `/metrics` the names, sizes and loads of all collections",
)
PLAIN = Check(
    "http.plain",
    "Is the token sent over TLS where it leaves the machine?",
    "whoever listens on the way can read the token, and then see and change what it opens",
)
CHECKS = (OPEN, PLAIN)


def judge_http(config: Config, nodes: Sequence[NodeFacts]) -> Iterator[Finding]:
    """What follows from where nodes listen for HTTP; they are taken to have these settings."""
    http = config.http
    places = {node.id: node.now.http for node in nodes if node.answers and node.now.http}
    if not places and http.enabled:
        places = {"http.host": f"{http.host}:{http.port or 0}"}
    others = {name: at for name, at in places.items() if not is_loopback(at)}
    token = http.token or http.metrics_token
    if not others:
        yield OPEN.ok("it is reached from its own machine alone")
        return
    for name, address in others.items():
        if not token and http.metrics:
            yield OPEN.warning(
                f"{name} answers /metrics at {address} without a token",
                "set http.metrics_token_file or http.token_file, or let a firewall keep others out",
            )
        else:
            yield OPEN.ok(f"{name} asks for a token at {address}")
        if token and not http.tls_certificate:
            yield PLAIN.note(
                f"{name} takes the token at {address} without TLS",
                "set http.tls_certificate and http.tls_key, or keep the network to yourself",
            )
