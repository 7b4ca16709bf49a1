"""What a drill would do to a cluster, before anything is done: for whoever has to consent."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from mishards.core.errors import NotReady
from mishards.core.ids import CollectionId, MetadataVersion
from mishards.core.runtime import SystemRuntime
from mishards.discovery.protocol import NodeInfo
from mishards.drill.kinds import Order
from mishards.drill.shadow import PREFIX
from mishards.drill.targets import candidates, outage
from mishards.metadata.snapshot import MetadataSnapshot
from mishards.rpc.messages import Drill
from mishards.server.balancing.plan import serving_proxies
from mishards.server.config import Config
from mishards.server.seams import Seams, open_seams

_ASK_S = 5.0


class Prospect(msgspec.Struct, frozen=True, kw_only=True):
    """A drill that could begin.

    Attributes:
        cluster: its id.
        nodes: those of which one will be harmed, or all of them where the order says so.
        uris: the proxies that the drill's clients will call.
        outage: why it is an outage by design; empty where others can go on.
        left: collections of earlier drills that were not dropped.
    """

    cluster: str
    nodes: tuple[NodeInfo, ...]
    uris: tuple[str, ...]
    outage: str
    left: tuple[str, ...]


async def prospect(config: Config, order: Order) -> Prospect:
    """Look at the cluster, and ask the nodes whether they take drills.

    Raises:
        ConfigError: there is no such data set.
        Unimplemented: drills are not enabled.
        NotReady: nothing is there to drill, or another drill goes on.
        InvalidParameter: the order does not fit.
    """
    order.check()
    config.require_data()
    runtime = SystemRuntime(threads=2)
    try:
        seams = await open_seams(config, runtime)
        try:
            cluster = await seams.metadata.open("")
            nodes = await seams.registry.nodes()
            named = nodes if order.everywhere else tuple(candidates(order, nodes))
            await tell(seams, named, Drill(fault="none", token=""))
            snapshot = MetadataSnapshot.empty().apply(
                await seams.metadata.changes(MetadataVersion(0))
            )
        finally:
            await seams.close()
    finally:
        await runtime.close()
    return Prospect(
        cluster=cluster,
        nodes=named,
        uris=order.uris or _uris(config, nodes),
        outage=outage(order, named[0], nodes),
        left=tuple(sorted(_drills(snapshot).values())),
    )


async def tell(seams: Seams, nodes: Sequence[NodeInfo], message: Drill) -> None:
    """Send each of the nodes the message, one after the other. Raises what any of them does."""
    for node in nodes:
        await seams.transport.channel(node.address).call(message, timeout_s=_ASK_S)


def _uris(config: Config, nodes: Sequence[NodeInfo]) -> tuple[str, ...]:
    scheme = "https" if config.proxy.tls_certificate else "http"
    found = tuple(f"{scheme}://{proxy.address}" for proxy in serving_proxies(nodes))
    if not found:
        raise NotReady("no proxy is ready, so nobody could call the cluster")
    return found


def _drills(snapshot: MetadataSnapshot) -> dict[CollectionId, str]:
    """Collections that drills have made."""
    found = snapshot.collections.values()
    return {view.id: view.name for view in found if view.name.startswith(PREFIX)}
