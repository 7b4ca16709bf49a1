"""The keys of `consul_state`: values with indexes, locks of sessions, transactions.

Source: Consul, HTTP API: kv, txn.
"""

from __future__ import annotations

import copy
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any, Protocol

import msgspec


class Refused(Exception):
    """An answer other than 200, with its words."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status
        self.words = words


class Entry(msgspec.Struct):
    """A key as it was put last."""

    value: bytes
    create_index: int
    modify_index: int
    lock_index: int = 0
    session: str = ""

    def told(self, key: str, *, value: bool = True) -> dict[str, Any]:
        """As Consul writes it."""
        return {
            "Key": key,
            "Flags": 0,
            "Value": b64encode(self.value).decode() if value else None,
            "CreateIndex": self.create_index,
            "ModifyIndex": self.modify_index,
            "LockIndex": self.lock_index,
            **({"Session": self.session} if self.session else {}),
        }


class Servers(Protocol):
    """What keys need of the state that they are part of."""

    now_s: Callable[[], float]
    index: int
    sessions: dict[str, Any]

    def raise_index(self) -> int: ...


class Keys:
    """The store. Every method is one step; see `consul_state` for who may call."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._entries: dict[str, Entry] = {}
        self._delayed: dict[str, float] = {}

    def get(self, key: str) -> Entry | None:
        return self._entries.get(key)

    def index_of(self, key: str) -> int:
        """What a blocking query of the key goes by."""
        entry = self._entries.get(key)
        return entry.modify_index if entry is not None else self._servers.index

    def put(self, key: str, value: bytes, **how: str) -> bool:
        """`PUT /kv`, with at most one of `cas`, `acquire` and `release`."""
        if len(how) > 1:
            raise Refused(400, f"Conflicting flags: {', '.join(sorted(how))}")
        index = self._servers.index + 1
        if "cas" in how:
            done = self._cas(key, value, int(how["cas"]), index)
        elif "acquire" in how:
            done = self._may_lock(key) and self._lock(key, value, how["acquire"], index)
        elif "release" in how:
            done = self._unlock(key, value, how["release"], index)
        else:
            done = self._set(key, value, index)
        if done:
            self._servers.raise_index()
        return done

    def delete(self, key: str) -> None:
        """`DELETE /kv`."""
        if self._entries.pop(key, None) is not None:
            self._servers.raise_index()

    def change(self, operations: list[dict[str, Any]]) -> dict[str, Any]:
        """`PUT /txn`: all or nothing.

        Raises:
            Refused: with 409 and what was wrong; nothing was done.
        """
        before = copy.deepcopy(self._entries)
        index = self._servers.index + 1
        results = []
        for number, operation in enumerate(operations):
            try:
                results.append(self._operate(operation["KV"], index))
            except Refused as error:
                self._entries = before
                errors = [{"OpIndex": number, "What": error.words}]
                body = msgspec.json.encode({"Results": None, "Errors": errors})
                raise Refused(409, body.decode()) from error
        if self._entries != before:
            self._servers.raise_index()
        return {"Results": [{"KV": one} for one in results if one is not None], "Errors": None}

    def let_go(self, session_id: str, delay_s: float, *, delete: bool) -> None:
        """Free the locks of a session that has ended; nobody has them for the delay."""
        for key, entry in list(self._entries.items()):
            if entry.session == session_id:
                self._delayed[key] = self._servers.now_s() + delay_s
                index = self._servers.raise_index()
                if delete:
                    del self._entries[key]
                else:
                    entry.session, entry.modify_index = "", index

    def restore(self, index: int) -> None:
        """See `ConsulState.restore`."""
        for entry in self._entries.values():
            entry.create_index = entry.modify_index = index

    def _operate(self, step: dict[str, Any], index: int) -> dict[str, Any] | None:
        verb, key = step["Verb"], step["Key"]
        value = b64decode(step.get("Value") or "")
        entry = self._entries.get(key)
        if verb == "set":
            self._set(key, value, index)
        elif verb == "cas":
            _require(self._cas(key, value, step.get("Index", 0), index), key, "index is stale")
        elif verb == "lock":
            _require(self._may_lock(key), key, "lock delay")
            _require(self._lock(key, value, step.get("Session", ""), index), key, "is locked")
        elif verb == "unlock":
            session = step.get("Session", "")
            _require(self._unlock(key, value, session, index), key, "isn't locked, or by another")
        elif verb == "check-index":
            same = entry is not None and entry.modify_index == step.get("Index", 0)
            _require(same, key, "failed index check")
        elif verb == "check-session":
            same = entry is not None and entry.session == step.get("Session", "")
            _require(same, key, "failed session check")
        elif verb == "check-not-exists":
            _require(entry is None, key, "exists")
        elif verb == "delete":
            self._entries.pop(key, None)
            return None
        elif verb == "get":
            _require(entry is not None, key, "doesn't exist")
        else:
            raise Refused(400, f"unknown KV verb {verb!r}")
        return self._entries[key].told(key, value=verb == "get") if key in self._entries else None

    def _set(self, key: str, value: bytes, index: int) -> bool:
        entry = self._entries.setdefault(key, Entry(b"", index, 0))
        if entry.modify_index == 0 or entry.value != value:
            entry.value, entry.modify_index = value, index
        return True

    def _cas(self, key: str, value: bytes, expected: int, index: int) -> bool:
        entry = self._entries.get(key)
        if (entry.modify_index if entry is not None else 0) != expected:
            return False
        return self._set(key, value, index)

    def _may_lock(self, key: str) -> bool:
        return self._delayed.get(key, 0.0) <= self._servers.now_s()

    def _lock(self, key: str, value: bytes, session: str, index: int) -> bool:
        if session not in self._servers.sessions:
            raise Refused(500, f"invalid session {session!r}")
        entry = self._entries.get(key)
        if entry is not None and entry.session not in ("", session):
            return False
        self._set(key, value, index)
        entry = self._entries[key]
        if entry.session != session:
            entry.session, entry.modify_index = session, index
            entry.lock_index += 1
        return True

    def _unlock(self, key: str, value: bytes, session: str, index: int) -> bool:
        entry = self._entries.get(key)
        if entry is None or not session or entry.session != session:
            return False
        self._set(key, value, index)
        entry.session, entry.modify_index = "", index
        return True


def _require(held: bool, key: str, words: str) -> None:
    if not held:
        raise Refused(409, f"key {key!r}: {words}")
