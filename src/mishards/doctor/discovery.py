"""Discovery: does the registry answer, and is everyone it names there, ready, and who it says?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from mishards.core.secret import redact
from mishards.doctor.findings import Check, Finding, Trouble
from mishards.doctor.nodes import Entries, NodeFacts
from mishards.doctor.words import listed
from mishards.server.config import Config

REACHED = Check(
    "discovery.registry",
    "Does the registry answer, and name nodes?",
    "nodes that start find no others; those that run keep what they knew and ask each other",
)
ANSWERS = Check(
    "discovery.answers",
    "Does every node that the registry names answer at its address?",
    "searches are sent to it and have to be repeated elsewhere; what it alone holds is not served",
)
READY = Check(
    "discovery.ready",
    "Is every node ready?",
    "a node that starts or drains takes no work",
)
SAME = Check(
    "discovery.entries",
    "Is every entry of the node at its address, and every node named once?",
    "work meant for one node goes to another, or is counted twice",
)
ROLES = Check(
    "discovery.roles",
    "Is there a node of every role?",
    "without a reader nothing is searched, without a writer nothing is written, without a proxy no "
    "client is served",
)
CHECKS = (REACHED, ANSWERS, READY, SAME, ROLES)

_LACKS = {
    "reader": "nothing can be searched",
    "writer": "nothing can be written",
    "proxy": "no client is served",
}


def judge_discovery(
    entries: Entries | Trouble, nodes: Sequence[NodeFacts], config: Config
) -> Iterator[Finding]:
    """What follows from what the registry and the nodes say."""
    where = redact(config.cluster.discovery) or "the metadata database"
    if isinstance(entries, Trouble):
        yield REACHED.failure(
            entries.message, f"start the registry ({where}), or correct cluster.discovery"
        )
        return
    if not entries.nodes:
        yield REACHED.failure(
            f"the registry ({where}) names no node",
            "start nodes with this configuration: mishards up, or mishards writer, reader, proxy",
        )
    else:
        yield REACHED.ok(f"the registry ({where}) names {len(entries.nodes)} nodes")
    yield from _answers(nodes)
    yield from _ready(nodes)
    yield from _same(nodes)
    if entries.nodes:
        yield from _roles(nodes)


def _answers(nodes: Sequence[NodeFacts]) -> Iterator[Finding]:
    well = True
    unasked = [node for node in nodes if not node.asked]
    if unasked:
        yield ANSWERS.failure(
            f"no node was asked: {unasked[0].problem}",
            "put this end's certificate in order first (cluster.tls_*), then look again",
        )
        return
    for node in nodes:
        if node.silent:
            well = False
            yield _silent(node)
        elif not node.answers:
            well = False
            yield _no_answer(node)
    if well and nodes:
        yield ANSWERS.ok("every node answers")


def _silent(node: NodeFacts) -> Finding:
    told = f"{_named(node)} stopped renewing its entry and did not leave"
    if node.answers:
        return ANSWERS.warning(
            f"{told}, but answers", "look at its log: it cannot write to the registry"
        )
    if node.nobody:
        return ANSWERS.note(
            f"{told}; nothing listens at {node.listed.address} any more",
            "start it again if it is missed; its entry goes by itself",
        )
    return ANSWERS.failure(
        f"{told}; it does not answer: {node.problem}",
        _look_at(node),
    )


def _no_answer(node: NodeFacts) -> Finding:
    told = f"{_named(node)} does not answer: {node.problem}"
    if node.nobody:
        return ANSWERS.failure(
            f"stale entry: {told}",
            "start the node, or take it out of the registry (cluster.nodes, or the file or service "
            "that lists it)",
        )
    if node.refused:
        return ANSWERS.failure(
            told,
            "look at cluster.tls_certificate, cluster.tls_key and cluster.tls_ca here and there",
        )
    return ANSWERS.failure(told, _look_at(node))


def _look_at(node: NodeFacts) -> str:
    where = f" on {node.listed.host}" if node.listed.host else ""
    process = f"process {node.listed.pid}" if node.listed.pid else "its process"
    return (
        f"look at {process}{where}: it hangs, was stopped, or cannot be reached; its log says what "
        "it did last. Restart it if it does not come back"
    )


def _ready(nodes: Sequence[NodeFacts]) -> Iterator[Finding]:
    waiting = [node for node in nodes if node.answers and not node.silent and not node.now.ready]
    for node in waiting:
        yield READY.warning(
            f"{_named(node)} is not ready",
            "it starts or drains; if that lasts, this says why: "
            f"curl http://{node.now.http or 'HOST:9091'}/readyz",
        )
    if nodes and not waiting:
        yield READY.ok("every node that answers is ready")


def _same(nodes: Sequence[NodeFacts]) -> Iterator[Finding]:
    well = True
    by_address: dict[str, list[NodeFacts]] = defaultdict(list)
    by_id: dict[str, list[NodeFacts]] = defaultdict(list)
    for node in nodes:
        if node.silent:
            continue
        by_address[node.listed.address].append(node)
        by_id[node.now.id].append(node)
        # A list made by hand gives nodes names of its own; only a node itself says its process.
        if node.said is not None and node.listed.pid and node.said.id != node.id:
            well = False
            yield SAME.failure(
                f"stale entry: {_named(node)} is listed at {node.listed.address}, where "
                f"{node.said.id} answers",
                "take the entry out of the registry, or give the node an address of its own",
            )
    for address, found in by_address.items():
        if len(found) > 1:
            well = False
            names = listed(node.id for node in found)
            yield SAME.failure(
                f"duplicate entries: {names} are all listed at {address}",
                "take out those that are no more; nodes that live need addresses of their own",
            )
    for name, found in by_id.items():
        addresses = {node.listed.address for node in found}
        if len(addresses) > 1:
            well = False
            yield SAME.failure(
                f"duplicate entries: {name} is listed at {listed(sorted(addresses))}",
                "list every node once; nodes need names of their own (node.id)",
            )
    if well and nodes:
        yield SAME.ok("every entry is of the node at its address")


def _roles(nodes: Sequence[NodeFacts]) -> Iterator[Finding]:
    counts = {
        role: sum(node.serves and role in node.now.roles for node in nodes) for role in _LACKS
    }
    for role, lack in _LACKS.items():
        if not counts[role]:
            yield ROLES.failure(
                f"no {role} serves: {lack}", f"start one: mishards {role} --config FILE"
            )
    if all(counts.values()):
        told = ", ".join(f"{count} of role {role}" for role, count in counts.items())
        yield ROLES.ok(f"nodes that serve: {told}")


def _named(node: NodeFacts) -> str:
    roles = "+".join(node.now.roles)
    return f"{roles} {node.id}" if roles else f"node {node.id}"
