"""Leases of leaders in Kubernetes: an object of `coordination.k8s.io/v1` for each log.

Invariants: a Lease is replaced only in the version that was looked at (the server refuses any other
with 409), and created only where there is none, so of concurrent swaps one takes effect. The
times in it are there for people: every observer judges by its own clock.
"""

from __future__ import annotations

import msgspec

from mishards.core.errors import Unavailable
from mishards.core.ids import LogId, NodeId
from mishards.core.runtime import Runtime
from mishards.discovery.election import NOBODY, Lease, next_lease, no_longer_held
from mishards.discovery.kubernetes_api import KubernetesApi
from mishards.discovery.kubernetes_leases import LEASES, LeaseObject, lease_body, read_lease
from mishards.discovery.kubernetes_url import KubernetesUrl, parse_kubernetes_url

_COMPONENT = "election"
_NOT_FOUND, _CONFLICT = 404, 409


class KubernetesElection:
    """An `Election` over the Leases of one namespace."""

    def __init__(
        self, url: KubernetesUrl, runtime: Runtime, *, api: KubernetesApi | None = None
    ) -> None:
        """`api`: None for that of the URL."""
        self._cluster = url.cluster
        self._runtime = runtime
        self._api = KubernetesApi(url) if api is None else api
        self._seen: dict[LogId, tuple[Lease, str]] = {}

    async def look(self, log_id: LogId) -> Lease:
        lease, _ = await self._look(log_id)
        return lease

    async def swap(self, seen: Lease, holder: NodeId, heir: NodeId = NOBODY) -> Lease:
        # Mostly it is what was looked at, or swapped, last: then its version is known.
        found, version = self._seen.get(seen.log_id, (None, ""))
        if found != seen:
            found, version = await self._look(seen.log_id)
        if found != seen:
            raise no_longer_held(seen)
        lease = next_lease(seen, holder, heir)
        name = self._name(seen.log_id)
        body = lease_body(
            name,
            cluster=self._cluster,
            component=_COMPONENT,
            entry=msgspec.json.encode(lease),
            holder=holder,
            now_ms=self._runtime.now_ms(),
            meta={"resourceVersion": version} if version else {},
        )
        if version:
            path = f"{LEASES}/{name}"
            lost = [_NOT_FOUND, _CONFLICT]
            status, data = await self._api.call("PUT", path, body=body, besides=lost)
        else:
            lost = [_CONFLICT]
            status, data = await self._api.call("POST", LEASES, body=body, besides=lost)
        if status in lost:
            raise no_longer_held(seen)
        self._seen[seen.log_id] = (lease, self._read(data).metadata.resource_version)
        return lease

    async def close(self) -> None:
        await self._api.close()

    async def _look(self, log_id: LogId) -> tuple[Lease, str]:
        """The lease, and the version of its object; no version where there is none."""
        path = f"{LEASES}/{self._name(log_id)}"
        status, data = await self._api.call("GET", path, besides=[_NOT_FOUND])
        seen = (Lease(log_id=log_id), "")
        if status != _NOT_FOUND:
            found = self._read(data)
            try:
                lease = msgspec.json.decode(found.entry, type=Lease)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise Unavailable(
                    f"the Lease {self._name(log_id)!r} says nothing of log {log_id}: {error}; "
                    "delete it where it is nobody else's"
                ) from error
            seen = lease, found.metadata.resource_version
        self._seen[log_id] = seen
        return seen

    def _read(self, data: bytes) -> LeaseObject:
        try:
            return read_lease(data)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Unavailable(f"the Kubernetes API gives no Lease: {error}") from error

    def _name(self, log_id: LogId) -> str:
        return f"{self._cluster}-log-{log_id}"


def open_kubernetes(runtime: Runtime, *, url: str) -> KubernetesElection:
    """The election in Kubernetes; see `discovery.kubernetes_url`."""
    return KubernetesElection(parse_kubernetes_url(url), runtime)
