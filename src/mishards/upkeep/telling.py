"""Tells a live cluster what is damaged: indexes are built anew, segments are refused.

Invariant: nothing is done on a report alone. The leader looks at an index before it drops it, and
a reader at a segment before it refuses it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from mishards.core.errors import MishardsError
from mishards.core.ids import CollectionId, LogId, SegmentId
from mishards.discovery.protocol import NodeInfo
from mishards.rpc.messages import DamageReply, LookAgain, Message, ReportDamage
from mishards.rpc.protocol import Transport
from mishards.upkeep.findings import Finding, Subject

_TIMEOUT_S = 30.0


async def tell_cluster(
    transport: Transport, nodes: Sequence[NodeInfo], findings: Sequence[Finding]
) -> tuple[str, ...]:
    """Report what can be; says what came of each report.

    Args:
        nodes: of the cluster, as the registry knows them.
    """
    told: list[str] = []
    for finding in findings:
        if finding.subject is Subject.INDEX:
            told.append(await _tell_leader(transport, nodes, finding))
    damaged = {
        (finding.collection_id, finding.segment_id): finding
        for finding in findings
        if finding.subject is Subject.SEGMENT
    }
    for finding in damaged.values():
        told.append(await _tell_readers(transport, nodes, finding))
    return tuple(told)


async def _tell_leader(transport: Transport, nodes: Sequence[NodeInfo], finding: Finding) -> str:
    log_id = LogId(finding.log_id)
    leaders = [node for node in nodes if log_id in node.leads]
    if not leaders:
        return f"{finding.key}: nobody leads log {log_id}, who could build it anew"
    leader = max(leaders, key=lambda node: node.reign(log_id))
    message = ReportDamage(
        collection=CollectionId(finding.collection_id),
        segment=SegmentId(finding.segment_id),
        name=finding.key.rpartition("/")[2],
        reason=finding.message,
        log=log_id,
    )
    answer = await _ask(transport, leader, message)
    if isinstance(answer, DamageReply) and answer.rebuilt:
        return f"{finding.key}: is built anew"
    reason = answer.reason if isinstance(answer, DamageReply) else answer.message
    return f"{finding.key}: is not built anew: {reason}"


async def _tell_readers(transport: Transport, nodes: Sequence[NodeInfo], finding: Finding) -> str:
    readers = [node for node in nodes if "reader" in node.roles]
    message = LookAgain(
        collection=CollectionId(finding.collection_id), segment=SegmentId(finding.segment_id)
    )
    answers = await asyncio.gather(*(_ask(transport, node, message) for node in readers))
    refusing = [
        node.id
        for node, answer in zip(readers, answers, strict=True)
        if isinstance(answer, DamageReply) and answer.refused
    ]
    name = f"segment {finding.segment_id} of collection {finding.collection!r}"
    return f"{name}: refused by {', '.join(refusing) or 'no reader, for none has it open'}"


async def _ask(
    transport: Transport, node: NodeInfo, message: Message
) -> DamageReply | MishardsError:
    try:
        answer = await transport.channel(node.address).call(message, timeout_s=_TIMEOUT_S)
    except MishardsError as error:
        return error
    assert isinstance(answer, DamageReply)
    return answer
