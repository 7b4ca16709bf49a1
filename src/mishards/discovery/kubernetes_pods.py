"""What is kept of a Pod: which one it is, and whether it can serve.

Invariant: whatever a Pod says or leaves out of its status is read; only a Pod that Kubernetes
calls ready, that runs and is not being deleted, is ready.
"""

from __future__ import annotations

from typing import Any

import msgspec

from mishards.discovery.kubernetes_watch import Meta

PODS = "/api/v1/namespaces/{namespace}/pods"
NAME_LABEL = "app.kubernetes.io/name"
CLUSTER_LABEL = "app.kubernetes.io/instance"
_ENDED = ("Succeeded", "Failed")


class Pod(msgspec.Struct, frozen=True):
    """See the module.

    Attributes:
        uid: differs from that of an earlier Pod of the same name.
        ended: its containers have ended for good.
    """

    uid: str
    ready: bool
    ended: bool


class _Condition(msgspec.Struct):
    type: str = ""
    status: str = ""


class _Status(msgspec.Struct):
    phase: str | None = None
    conditions: list[_Condition] | None = None


class _PodObject(msgspec.Struct):
    metadata: Meta
    status: _Status | None = None


def pod_selector(cluster: str) -> str:
    """The label selector of a cluster's objects."""
    return f"{NAME_LABEL}=mishards,{CLUSTER_LABEL}={cluster}"


def decode_pod(raw: Any) -> Pod:
    """Raises `MsgspecError` where `raw` is no Pod."""
    found = msgspec.json.decode(raw, type=_PodObject)
    status = found.status or _Status()
    calls_ready = any(
        condition.type == "Ready" and condition.status == "True"
        for condition in status.conditions or ()
    )
    return Pod(
        uid=found.metadata.uid,
        ready=calls_ready
        and status.phase == "Running"
        and found.metadata.deletion_timestamp is None,
        ended=status.phase in _ENDED,
    )
