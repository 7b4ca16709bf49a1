"""What a Consul agent and its servers keep, as far as Mishards uses it; behind `consul_server`.

Made from the published API, for proving providers where no Consul can be had. As there, the agent's
own list reaches the catalog a moment later, a TTL check that is not renewed turns critical, one
that stays so takes its service along, sessions end when they are not renewed and keep their locks
from others for a delay, and every change has an index. Invariants: nothing here waits, starts a
thread or knows of HTTP; whoever calls holds the server's lock.

Source: Consul, HTTP API: agent/service, agent/check, health, session.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import msgspec

from mishards.testing.consul_kv import Keys, Refused

_SYNC_S = 0.02
"""How long a change at the agent takes to reach the catalog."""
_LEAST_SESSION_S, _MOST_SESSION_S = 10.0, 86_400.0
_UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


class CheckState(msgspec.Struct):
    """A TTL check of the agent."""

    ttl_s: float
    forget_s: float
    status: str
    renewed_s: float


class Listed(msgspec.Struct):
    """An instance of a service as the catalog has it."""

    service: dict[str, Any]
    check_id: str
    status: str
    index: int


class SessionState(msgspec.Struct):
    """A session of the servers."""

    ttl_s: float
    delay_s: float
    behavior: str
    renewed_s: float
    index: int


class ConsulState:
    """See the module. Times are seconds of the clock that is handed in."""

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        self.now_s = monotonic_s
        self.index = 10
        self.keys = Keys(self)
        self.sessions: dict[str, SessionState] = {}
        self.catalog: dict[str, Listed] = {}
        self.service_index: dict[str, int] = {}
        self._services: dict[str, dict[str, Any]] = {}
        self._checks: dict[str, CheckState] = {}
        self._check_of: dict[str, str] = {}
        self._unsynced: dict[str, float] = {}

    def raise_index(self) -> int:
        """The index of one more change."""
        self.index += 1
        return self.index

    def pass_time(self) -> None:
        """Let everything happen whose time has come."""
        now_s = self.now_s()
        for service_id, check_id in list(self._check_of.items()):
            check = self._checks[check_id]
            silent_s = now_s - check.renewed_s
            if check.status != "critical" and silent_s >= check.ttl_s:
                check.status = "critical"
                self._changed(service_id)
            if check.forget_s and silent_s >= check.ttl_s + check.forget_s:
                self.deregister(service_id)
        for service_id, due_s in list(self._unsynced.items()):
            if now_s >= due_s:
                del self._unsynced[service_id]
                self._sync(service_id)
        for session_id, session in list(self.sessions.items()):
            if session.ttl_s and now_s - session.renewed_s >= session.ttl_s:
                self.destroy_session(session_id)

    # --- the agent ------------------------------------------------------------------------------

    def register(self, body: dict[str, Any]) -> None:
        """`PUT /agent/service/register`."""
        if not body.get("Name"):
            raise Refused(400, "Missing service name")
        for key, value in (body.get("Meta") or {}).items():
            if not re.fullmatch(r"[A-Za-z0-9_-]{1,128}", key) or len(value.encode()) > 512:
                raise Refused(400, f"Invalid Service Meta: {key}")
        service_id = body.get("ID") or body["Name"]
        self._services[service_id] = {
            "ID": service_id,
            "Service": body["Name"],
            "Tags": body.get("Tags") or [],
            "Meta": body.get("Meta") or {},
            "Address": body.get("Address") or "",
            "Port": body.get("Port") or 0,
        }
        if (check := body.get("Check")) is not None:
            check_id = check.get("CheckID") or f"service:{service_id}"
            self._check_of[service_id] = check_id
            self._checks[check_id] = CheckState(
                seconds(check["TTL"]),
                seconds(check.get("DeregisterCriticalServiceAfter") or "0s"),
                check.get("Status") or "critical",
                self.now_s(),
            )
        self._changed(service_id)

    def deregister(self, service_id: str) -> None:
        """`PUT /agent/service/deregister`."""
        if self._services.pop(service_id, None) is None:
            raise Refused(404, f"Unknown service ID {service_id!r}")
        if (check_id := self._check_of.pop(service_id, None)) is not None:
            del self._checks[check_id]
        self._changed(service_id)

    def pass_check(self, check_id: str) -> None:
        """`PUT /agent/check/pass`."""
        check = self._checks.get(check_id)
        if check is None:
            raise Refused(404, f"Unknown check ID {check_id!r}")
        check.renewed_s = self.now_s()
        if check.status != "passing":
            check.status = "passing"
            (service_id,) = (one for one, its in self._check_of.items() if its == check_id)
            self._changed(service_id)

    def _changed(self, service_id: str) -> None:
        self._unsynced.setdefault(service_id, self.now_s() + _SYNC_S)

    def _sync(self, service_id: str) -> None:
        service, listed = self._services.get(service_id), self.catalog.get(service_id)
        if service is None:
            if listed is not None:
                del self.catalog[service_id]
                self.service_index[listed.service["Service"]] = self.raise_index()
            return
        check_id = self._check_of.get(service_id, "")
        status = self._checks[check_id].status if check_id else "passing"
        if listed is None or (listed.service, listed.status) != (service, status):
            index = self.service_index[service["Service"]] = self.raise_index()
            self.catalog[service_id] = Listed(service, check_id, status, index)

    # --- the servers ----------------------------------------------------------------------------

    def instances(self, name: str) -> tuple[list[dict[str, Any]], int]:
        """What `GET /health/service` lists, and its index."""
        found = [
            {
                "Node": {"Node": "agent", "Address": "127.0.0.1"},
                "Service": one.service | {"ModifyIndex": one.index},
                "Checks": [
                    {"CheckID": "serfHealth", "Status": "passing"},
                    {"CheckID": one.check_id, "Status": one.status},
                ],
            }
            for one in self.catalog.values()
            if one.service["Service"] == name
        ]
        return found, self.service_index.get(name, self.index)

    def create_session(self, body: dict[str, Any]) -> str:
        """`PUT /session/create`."""
        ttl_s = seconds(body.get("TTL") or "0s")
        if ttl_s and not _LEAST_SESSION_S <= ttl_s <= _MOST_SESSION_S:
            raise Refused(500, f"Invalid Session TTL {body['TTL']!r}, must be between 10s and 24h")
        delay_s = seconds(body.get("LockDelay") or "15s")
        if delay_s <= 0:
            raise Refused(400, "the lock delay must be greater than 0")
        behavior = body.get("Behavior") or "release"
        if behavior not in ("release", "delete"):
            raise Refused(500, f"Invalid Behavior setting {behavior!r}")
        session_id = str(uuid4())
        self.sessions[session_id] = SessionState(
            ttl_s, delay_s, behavior, self.now_s(), self.raise_index()
        )
        return session_id

    def renew_session(self, session_id: str) -> None:
        """`PUT /session/renew`."""
        session = self.sessions.get(session_id)
        if session is None:
            raise Refused(404, f"Session id {session_id!r} not found")
        session.renewed_s = self.now_s()

    def destroy_session(self, session_id: str) -> None:
        """`PUT /session/destroy`, and how sessions end; one that is not there is no error."""
        session = self.sessions.pop(session_id, None)
        if session is not None:
            self.keys.let_go(session_id, session.delay_s, delete=session.behavior == "delete")

    def restore(self, index: int) -> None:
        """Go back to lower indexes, as the restoring of a snapshot does; contents stay."""
        self.index = index
        self.service_index = dict.fromkeys(self.service_index, index)
        for listed in self.catalog.values():
            listed.index = index
        self.keys.restore(index)


def seconds(text: str) -> float:
    """A duration as Go writes it."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(ns|us|ms|s|m|h)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise Refused(400, f"Request decode failed: invalid duration {text!r}")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)
