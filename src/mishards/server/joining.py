"""Whether the nodes of a cluster take this one, asked before it is announced to them.

Who has another authority's certificate would otherwise stand in the registry as a node that nobody
reaches.
"""

from __future__ import annotations

import asyncio

from mishards.core.errors import ConfigError, MishardsError, TlsRefused
from mishards.rpc.messages import NodeStatus
from mishards.server.seams import Seams

_ASKED = 3
_TIMES = 5
_PAUSE_S = 0.4
_TIMEOUT_S = 2.0


async def require_trust(seams: Seams) -> None:
    """Ask some of the nodes that the registry names.

    A node that is ending closes connections as well, so they are asked several times, and one
    that answers is enough. Nodes that cannot be reached say nothing.

    Raises:
        ConfigError: all that can be reached refuse this node's certificate, or it theirs.
    """
    refusal: TlsRefused | None = None
    for _ in range(_TIMES):
        nodes = [node for node in await seams.registry.nodes() if node.ready][:_ASKED]
        results = await asyncio.gather(*(_ask(seams, node.address) for node in nodes))
        refusals = [error for error in results if isinstance(error, TlsRefused)]
        if not refusals or None in results:
            return
        refusal = refusals[0]
        await seams.runtime.sleep(_PAUSE_S)
    assert refusal is not None
    raise ConfigError(
        f"the nodes of this cluster and this node do not trust each other: {refusal.message}; "
        "look at cluster.tls_certificate and cluster.tls_ca"
    )


async def _ask(seams: Seams, address: str) -> MishardsError | None:
    """The error; None where there is an answer."""
    try:
        await seams.transport.channel(address).call(NodeStatus(), timeout_s=_TIMEOUT_S)
    except MishardsError as error:
        return error
    return None
