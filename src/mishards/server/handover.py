"""Asking the leader of a log, from outside the cluster, to let a standby lead."""

from __future__ import annotations

from mishards.core.errors import InternalError, NotReady
from mishards.core.ids import LogId, NodeId
from mishards.core.runtime import SystemRuntime
from mishards.rpc.messages import HandedOver, HandOver
from mishards.server.config import Config
from mishards.server.seams import open_seams

_TIMEOUT_S = 15.0


async def request_handover(config: Config, log_id: LogId, to: NodeId) -> HandedOver:
    """Let `to`, or, where that is empty, any standby lead the log.

    Raises:
        ConfigError: there is no such data set.
        NotReady: nobody leads the log, or no standby is ready; nothing has changed.
        InvalidParameter: `to` is no standby of the log.
    """
    config.require_data()
    runtime = SystemRuntime(threads=2)
    try:
        seams = await open_seams(config, runtime)
        try:
            leaders = [node for node in await seams.registry.nodes() if log_id in node.leads]
            if not leaders:
                raise NotReady(f"nobody leads log {log_id}")
            leader = max(leaders, key=lambda node: node.reign(log_id))
            answer = await seams.transport.channel(leader.address).call(
                HandOver(log=log_id, to=to), timeout_s=_TIMEOUT_S
            )
        finally:
            await seams.close()
    finally:
        await runtime.close()
    if not isinstance(answer, HandedOver):
        raise InternalError(f"{leader.id} answered {type(answer).__name__} to HandOver")
    return answer
