"""Leases in ZooKeeper: an entry per log, `<prefix>/lease/<log>`.

Invariant: a lease is put only over the version of the entry that it replaces, so of concurrent
swaps one takes effect. The entries outlive sessions and are never removed, so no beat is given
twice: a session ends by the servers' clock, and every observer here judges by its own.
"""

from __future__ import annotations

import msgspec
from kazoo.exceptions import BadVersionError, NodeExistsError, NoNodeError

from mishards.core.errors import Unavailable
from mishards.core.ids import LogId
from mishards.core.runtime import Runtime
from mishards.discovery.election import Lease
from mishards.discovery.election_blocking import BlockingElection
from mishards.discovery.zookeeper_client import ZooKeeperClient
from mishards.discovery.zookeeper_url import parse_zookeeper_url

_SESSION_S = 3.0
"""Nothing hangs on it: how soon a connection that says nothing is made anew."""
_ABSENT = -1


class ZooKeeperElection(BlockingElection):
    """An `Election` over ZooKeeper; calls run off the loop."""

    def __init__(self, url: str, runtime: Runtime) -> None:
        """Raises `ConfigError` when the URL cannot be used."""
        super().__init__(runtime)
        parsed = parse_zookeeper_url(url)
        self._client = ZooKeeperClient(parsed, session_s=_SESSION_S)
        self._path = f"/{parsed.prefix}/lease"
        self._seen: dict[LogId, tuple[Lease, int]] = {}

    def _look_now(self, log_id: LogId) -> Lease:
        return self._look(log_id)[0]

    def _close_now(self) -> None:
        self._client.close()

    def _look(self, log_id: LogId) -> tuple[Lease, int]:
        """The lease, and the version of its entry."""
        path = self._entry(log_id)
        try:
            data, stat = self._client.ask(lambda kazoo: kazoo.get_async(path))
            seen = msgspec.json.decode(data, type=Lease), int(stat.version)
        except NoNodeError:
            seen = Lease(log_id=log_id), _ABSENT
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            name = self._client.name
            raise Unavailable(f"{name} holds no lease of log {log_id}: {error}") from error
        self._seen[log_id] = seen
        return seen

    def _swap_now(self, seen: Lease, lease: Lease) -> bool:
        # Mostly it is what was looked at, or swapped, last: then its version is known.
        found, version = self._seen.get(seen.log_id, (None, _ABSENT))
        if found != seen:
            found, version = self._look(seen.log_id)
        if found != seen:
            return False
        path, data = self._entry(seen.log_id), msgspec.json.encode(lease)
        try:
            if version == _ABSENT:
                self._client.ask(lambda kazoo: kazoo.create_async(path, data, makepath=True))
                version = 0
            else:
                stat = self._client.ask(lambda kazoo: kazoo.set_async(path, data, version))
                version = int(stat.version)
        except (BadVersionError, NodeExistsError, NoNodeError):
            self._seen.pop(seen.log_id, None)
            return False
        self._seen[seen.log_id] = (lease, version)
        return True

    def _entry(self, log_id: LogId) -> str:
        return f"{self._path}/{log_id}"


def open_zookeeper(runtime: Runtime, *, url: str) -> ZooKeeperElection:
    """The election in ZooKeeper at `url`."""
    return ZooKeeperElection(url, runtime)
