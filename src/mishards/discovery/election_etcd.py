"""Leases in etcd, commonly beside the metadata: a key per log, `<prefix>/lease/<log>`.

Invariant: a lease is put only by a transaction that compares the revision at which the one it
replaces was put, so of concurrent swaps one takes effect. Etcd's own leases are not used: they run
out by the server's clock, and every observer here judges by its own.
"""

from __future__ import annotations

import msgspec

from mishards.core.errors import Unavailable
from mishards.core.ids import LogId
from mishards.core.runtime import Runtime
from mishards.discovery.election import Lease
from mishards.discovery.election_blocking import BlockingElection
from mishards.storage.etcd_client import EtcdClient
from mishards.storage.etcd_requests import put, read, unchanged
from mishards.storage.etcd_url import parse_etcd_url

_ANSWER_S = 2.0


class EtcdElection(BlockingElection):
    """An `Election` over etcd; calls run off the loop."""

    def __init__(self, url: str, runtime: Runtime) -> None:
        """Raises `ConfigError` when the URL cannot be used."""
        super().__init__(runtime)
        parsed = parse_etcd_url(url)
        self._client = EtcdClient(parsed, runtime.monotonic_s, answer_s=_ANSWER_S)
        self._prefix = f"{parsed.prefix}/lease/".encode()
        self._name = parsed.name
        self._seen: dict[LogId, tuple[Lease, int]] = {}

    def _look_now(self, log_id: LogId) -> Lease:
        return self._look(log_id)[0]

    def _close_now(self) -> None:
        self._client.close()

    def _look(self, log_id: LogId) -> tuple[Lease, int]:
        """The lease, and the revision at which it was put."""
        (found,) = self._client.read(read(self._key(log_id))).ranges
        seen = (Lease(log_id=log_id), 0)
        if found:
            try:
                seen = msgspec.json.decode(found[0].value, type=Lease), found[0].revision
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise Unavailable(
                    f"{self._name} holds no lease of log {log_id}: {error}"
                ) from error
        self._seen[log_id] = seen
        return seen

    def _swap_now(self, seen: Lease, lease: Lease) -> bool:
        # Mostly it is what was looked at, or swapped, last: then its revision is known.
        found, revision = self._seen.get(seen.log_id, (None, 0))
        if found != seen:
            found, revision = self._look(seen.log_id)
        if found != seen:
            return False
        key = self._key(seen.log_id)
        operation = put(key, msgspec.json.encode(lease))
        done = self._client.write([unchanged(key, revision)], [operation])
        if done.succeeded:
            self._seen[seen.log_id] = (lease, done.revision)
        return done.succeeded

    def _key(self, log_id: LogId) -> bytes:
        return self._prefix + b"%d" % log_id


def open_etcd(runtime: Runtime, *, url: str) -> EtcdElection:
    """The election in etcd at `url`."""
    return EtcdElection(url, runtime)
