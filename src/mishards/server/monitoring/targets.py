"""The HTTP endpoints of all nodes, as Prometheus is told of them.

Invariant: a target's address is `host:port`, and its labels are `cluster`, `node` and `roles`, the
last with a comma between the roles of a node that has several.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

import msgspec

from mishards.core.errors import NotReady
from mishards.core.runtime import SystemRuntime
from mishards.discovery.protocol import NodeInfo
from mishards.server.balancing.plan import reachable
from mishards.server.config import Config
from mishards.server.seams import open_seams

CLUSTER = "mishards"
"""How a cluster is called that was given no name."""


class ScrapeTarget(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """A node's HTTP endpoint.

    Attributes:
        node: id of the node.
        roles: with a comma between them.
        address: `host:port`.
        cluster: name of its cluster.
    """

    node: str
    roles: str
    address: str
    cluster: str = CLUSTER

    @property
    def labels(self) -> dict[str, str]:
        """What all its series carry."""
        return {"cluster": self.cluster, "node": self.node, "roles": self.roles}


def targets_of(nodes: Sequence[NodeInfo], cluster: str = "") -> list[ScrapeTarget]:
    """The nodes that have an HTTP endpoint, by id; those that start or drain among them."""
    return sorted(
        ScrapeTarget(
            node=node.id,
            roles=",".join(sorted(node.roles)),
            address=reachable(node.http, node.host),
            cluster=cluster or CLUSTER,
        )
        for node in nodes
        if node.http
    )


def targets_file(targets: Sequence[ScrapeTarget]) -> str:
    """A file for `file_sd_configs`, as JSON."""
    groups = [{"targets": [one.address], "labels": one.labels} for one in targets]
    return json.dumps(groups, indent=2) + "\n"


def present_targets(config: Config) -> list[ScrapeTarget]:
    """The nodes that the cluster's registry lists.

    Raises:
        NotReady: none of them has an HTTP endpoint.
        ConfigError: there is no such data set.
        Unavailable: the registry cannot be reached.
    """
    found = targets_of(asyncio.run(_listed(config)), config.cluster.id)
    if not found:
        raise NotReady("the registry lists no node with an HTTP endpoint: start one")
    return found


async def _listed(config: Config) -> Sequence[NodeInfo]:
    config.require_data()
    runtime = SystemRuntime(threads=2)
    try:
        seams = await open_seams(config, runtime)
        try:
            return await seams.registry.nodes()
        finally:
            await seams.close()
    finally:
        await runtime.close()
