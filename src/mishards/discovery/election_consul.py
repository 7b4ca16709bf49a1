"""Leases in Consul: a key per log, `<prefix>/lease/<log>`, locked by its holder's session.

Invariant: a lease is put only by a transaction that compares the index at which the one it
replaces was put, so of concurrent swaps one takes effect. A lease whose lock is gone is nobody's:
Consul ended the session (10 to 20 s after its last renewal), or an operator did. An observer that
has seen the beat stand still does not wait for that: it takes the lock from whose it is.
"""

from __future__ import annotations

import threading
from base64 import b64decode, b64encode
from typing import Any

import msgspec

from mishards.core.errors import Unavailable
from mishards.core.ids import LogId
from mishards.core.runtime import Runtime
from mishards.discovery.consul_client import ConsulClient
from mishards.discovery.consul_url import parse_consul_url
from mishards.discovery.election import NOBODY, Lease
from mishards.discovery.election_blocking import BlockingElection

_SESSION_S = 10
"""The least that Consul takes."""
_RENEW_S = _SESSION_S / 3
# A session that Consul ends keeps others from its locks for so long; more than 0 is wanted.
_LOCK_DELAY = "1ms"
_ABSENT, _CONFLICT = 404, 409
_TRIES = 3


class _Pair(msgspec.Struct, frozen=True, rename="pascal"):
    """A key as Consul has it; `value` is base64."""

    modify_index: int
    value: str | None = None
    session: str = ""


class _Result(msgspec.Struct, frozen=True):
    KV: _Pair


class _Done(msgspec.Struct, frozen=True, rename="pascal"):
    """The answer to a transaction."""

    results: list[_Result] | None = None


class _Created(msgspec.Struct, frozen=True):
    ID: str


class _Seen(msgspec.Struct, frozen=True):
    """A lease, the index at which it was put (0: never), and whose lock is on it."""

    lease: Lease
    index: int = 0
    session: str = ""


class ConsulElection(BlockingElection):
    """An `Election` over Consul; calls run off the loop."""

    def __init__(self, url: str, runtime: Runtime) -> None:
        """Raises `ConfigError` when the URL cannot be used."""
        super().__init__(runtime)
        parsed = parse_consul_url(url)
        self._client = ConsulClient(parsed)
        self._prefix = parsed.prefix
        self._seen: dict[LogId, _Seen] = {}
        self._turn = threading.Lock()
        self._session = ""
        self._renewed_s = 0.0

    def _look_now(self, log_id: LogId) -> Lease:
        return self._look(log_id).lease

    def _close_now(self) -> None:
        self._client.close()

    def _look(self, log_id: LogId) -> _Seen:
        answer = self._client.get("kv", *self._key(log_id).split("/"), allowed=(_ABSENT,))
        seen = _Seen(Lease(log_id=log_id))
        if answer.ok:
            (pair,) = self._client.decode(answer, list[_Pair])
            try:
                lease = msgspec.json.decode(b64decode(pair.value or ""), type=Lease)
            except (msgspec.MsgspecError, ValueError) as error:
                name = self._client.name
                raise Unavailable(f"{name} holds no lease of log {log_id}: {error}") from error
            if lease.holder and not pair.session:
                lease = msgspec.structs.replace(lease, holder=NOBODY, heir=NOBODY)
            seen = _Seen(lease, pair.modify_index, pair.session)
        self._seen[log_id] = seen
        return seen

    def _swap_now(self, seen: Lease, lease: Lease) -> bool:
        # Mostly it is what was looked at, or swapped, last: then its index is known.
        found = self._seen.get(seen.log_id)
        if found is None or found.lease != seen:
            found = self._look(seen.log_id)
        for _ in range(_TRIES):
            if found.lease != seen:
                return False
            session = self._lock_session() if lease.holder else ""
            answer = self._client.put(
                "txn", body=self._change(found, lease, session), allowed=(_CONFLICT,)
            )
            if answer.ok:
                results = self._client.decode(answer, _Done).results or []
                index = results[-1].KV.modify_index if results else 0
                self._seen[seen.log_id] = _Seen(lease, index, session)
                return True
            # Another was quicker; or a session ended, which changes the key's index too.
            self._session = ""
            found = self._look(seen.log_id)
        words = answer.body[:200].decode(errors="replace")
        raise Unavailable(f"{self._client.name} does not lock log {seen.log_id}: {words}")

    def _change(self, found: _Seen, lease: Lease, session: str) -> list[dict[str, Any]]:
        """The transaction that puts `lease` in the place of what was found."""
        value = b64encode(msgspec.json.encode(lease)).decode("ascii")
        what = {"Key": self._key(lease.log_id), "Value": value}
        # An index of 0 stands for a key that is not there.
        steps: list[dict[str, Any]] = [{"Verb": "cas", "Index": found.index, **what}]
        if found.session and found.session != session:
            steps.append({"Verb": "unlock", "Session": found.session, **what})
        if session:
            steps.append({"Verb": "lock", "Session": session, **what})
        return [{"KV": step} for step in steps]

    def _lock_session(self) -> str:
        """The session that this process locks with, renewed where that is due."""
        with self._turn:
            now_s = self._runtime.monotonic_s()
            if self._session and now_s - self._renewed_s >= _RENEW_S:
                answer = self._client.put("session", "renew", self._session, allowed=(_ABSENT,))
                self._session = self._session if answer.ok else ""
                self._renewed_s = now_s
            if not self._session:
                wanted = {
                    "Name": f"{self._prefix} leases",
                    "TTL": f"{_SESSION_S}s",
                    "LockDelay": _LOCK_DELAY,
                    "Behavior": "release",
                    # A session lives by its renewals alone, not by what is thought of its machine.
                    "NodeChecks": [],
                    "Checks": [],
                }
                answer = self._client.put("session", "create", body=wanted)
                self._session = self._client.decode(answer, _Created).ID
                self._renewed_s = now_s
            return self._session

    def _key(self, log_id: LogId) -> str:
        return f"{self._prefix}/lease/{log_id}"


def open_consul(runtime: Runtime, *, url: str) -> ConsulElection:
    """The election in Consul behind the agent at `url`."""
    return ConsulElection(url, runtime)
