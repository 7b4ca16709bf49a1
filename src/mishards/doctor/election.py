"""Election: does every log have one leader, in the newest epoch, and somebody to follow it?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mishards.core.ids import LogId
from mishards.doctor.findings import Check, Finding
from mishards.doctor.logs import LogFacts
from mishards.doctor.nodes import NodeFacts
from mishards.doctor.words import listed

LEADER = Check(
    "election.leader",
    "Does exactly one node lead each log?",
    "without a leader nothing is written to its collections; of several, all but the newest are "
    "fenced by the log itself and acknowledge nothing",
)
EPOCH = Check(
    "election.epoch",
    "Does the leader reign in the newest epoch that the database knows of?",
    "commits of metadata by an older epoch are refused",
)
LEASE = Check(
    "election.lease",
    "Is the lease the leader's?",
    "a lease of somebody else, or of nobody, lets a standby take over",
)
STANDBY = Check(
    "election.standby",
    "Is there another writer that could take over?",
    "when the only writer is lost nothing is written until it is started again",
)
CHECKS = (LEADER, EPOCH, LEASE, STANDBY)


def judge_election(nodes: Sequence[NodeFacts], logs: Sequence[LogFacts]) -> Iterator[Finding]:
    """What follows from what nodes, leases and the database say."""
    writers = [node for node in nodes if node.serves and "writer" in node.now.roles]
    for log in logs:
        leaders = [n for n in nodes if n.serves and n.now.reign(log.meta.id) >= 0]
        yield from _log(log, leaders, writers)
    if not writers:
        return
    if len(writers) == 1:
        alone = len(writers[0].now.roles) > 1
        yield STANDBY.note(
            f"{writers[0].id} is the only writer"
            + (", of an instance that is one process" if alone else ""),
            "" if alone else "start another on another machine: mishards writer --config FILE",
        )
    else:
        yield STANDBY.ok(f"writers: {listed(node.id for node in writers)}")


def _log(
    log: LogFacts, leaders: Sequence[NodeFacts], writers: Sequence[NodeFacts]
) -> Iterator[Finding]:
    number = log.meta.id
    if not leaders:
        yield LEADER.failure(
            f"nobody leads log {number}{_why(number, writers)}",
            "start a writer"
            if not writers
            else "look at the logs of the writers; what they wait "
            "for is storage, the database or the election",
        )
        return
    leader = max(leaders, key=lambda node: node.now.reign(number))
    reign = leader.now.reign(number)
    if len(leaders) > 1:
        yield LEADER.warning(
            f"{listed(node.id for node in leaders)} all say that they lead log {number}; the "
            f"newest is {leader.id} in epoch {reign}",
            "restart the others if they still say so in a minute",
        )
    else:
        yield LEADER.ok(f"{leader.id} leads log {number} in epoch {reign}")
    if log.epoch is not None and log.epoch > reign:
        yield EPOCH.warning(
            f"{leader.id} leads log {number} in epoch {reign}; the database knows of {log.epoch}",
            f"look again in some seconds; if it lasts, restart {leader.id}",
        )
    elif log.epoch is not None:
        yield EPOCH.ok(f"log {number} is in epoch {reign}")
    if log.holder is not None and log.holder not in ("", leader.now.id):
        yield LEASE.warning(
            f"the lease of log {number} is {log.holder}'s, and {leader.id} leads",
            "look again in some seconds; it settles by itself unless the election cannot be "
            "written to",
        )
    elif log.holder is not None:
        yield LEASE.ok(f"the lease of log {number} is {log.holder or 'nobody'}'s")


def _why(number: LogId, writers: Sequence[NodeFacts]) -> str:
    """What the writers say about it."""
    said = [
        f"{node.id}: {node.status.details[f'log {number}']}"
        for node in writers
        if node.status is not None and f"log {number}" in node.status.details
    ]
    return f" ({listed(said, 2)})" if said else ""
