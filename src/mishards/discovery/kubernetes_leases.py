"""Leases of Kubernetes (`coordination.k8s.io/v1`): their paths, and what is written into them.

Invariant: what counts lies in one annotation, as JSON; holder and time are there for people.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from mishards.discovery.kubernetes_pods import CLUSTER_LABEL, NAME_LABEL
from mishards.discovery.kubernetes_watch import Meta

LEASES = "/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
COMPONENT_LABEL = "app.kubernetes.io/component"
ANNOTATION = "mishards/entry"


class LeaseObject(msgspec.Struct):
    """What is read of a Lease."""

    metadata: Meta

    @property
    def entry(self) -> str:
        """The annotation; empty where there is none."""
        return (self.metadata.annotations or {}).get(ANNOTATION, "")


def read_lease(raw: Any) -> LeaseObject:
    """Raises `MsgspecError` where `raw` is no Lease."""
    return msgspec.json.decode(raw, type=LeaseObject)


def lease_body(
    name: str,
    *,
    cluster: str,
    component: str,
    entry: bytes,
    holder: str,
    now_ms: int,
    meta: Mapping[str, Any],
) -> dict[str, Any]:
    """A Lease as the API takes it; `meta` adds to its metadata."""
    renewed = datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": name,
            "labels": {
                NAME_LABEL: "mishards",
                CLUSTER_LABEL: cluster,
                COMPONENT_LABEL: component,
            },
            "annotations": {ANNOTATION: entry.decode()},
            **meta,
        },
        "spec": {"renewTime": renewed, **({"holderIdentity": holder} if holder else {})},
    }
