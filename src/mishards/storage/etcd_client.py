"""Transactions on etcd (3.4 and newer) through its HTTP gateway: connections, members, waiting.

Invariants: every wait ends, see `ANSWER_S`. A read goes on to the next member where one does not
answer; a write does so only where it certainly was not sent, so that no write happens twice. A
connection serves one call at a time, and none that rested for `IDLE_S`: a machine between may have
forgotten it without a word.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import requests
from etcd3gw.client import Etcd3Client
from etcd3gw.exceptions import Etcd3Exception

from mishards.core.errors import Unavailable
from mishards.storage.etcd_errors import certainly_not_sent, etcd_error, is_expired
from mishards.storage.etcd_requests import (
    Answer,
    Found,
    Part,
    parse_answer,
    transaction,
)
from mishards.storage.etcd_requests import read as read_part
from mishards.storage.etcd_url import EtcdUrl

ANSWER_S = 5.0
"""How long a member may say nothing before it counts as gone."""
CONNECT_S = 3.0
IDLE_S = 30.0

_PAGE_BYTES = 4_000_000
"""What a page of a long read should hold: the gateway makes one JSON text of it."""
_FIRST_PAGE = 32
_LARGEST_PAGE = 5000

_FAILED = (Etcd3Exception, requests.RequestException, KeyError, TypeError, ValueError)


class EtcdClient:
    """Calls of one etcd cluster. Blocking; any thread may call.

    Every method raises `Unavailable` when no member answers, `DiskFull` when the cluster's quota
    is used up, and `InvalidRequest` of `etcd_errors` when etcd refuses the request as such.
    """

    def __init__(
        self, url: EtcdUrl, monotonic_s: Callable[[], float], *, answer_s: float = ANSWER_S
    ) -> None:
        """Connects at the first call."""
        self._url = url
        self._monotonic_s = monotonic_s
        self._answer_s = answer_s
        self._lock = threading.Lock()
        # Of each member the connections that rest, with the time since when; the newest last.
        self._idle: list[list[tuple[float, Etcd3Client]]] = [[] for _ in url.endpoints]
        self._chosen = 0

    def read(self, *ranges: Part) -> Answer:
        """Several ranges of one state of the store."""
        return self._call(transaction((), ranges, ()), repeatable=True)

    def write(
        self, compare: Sequence[Part], success: Sequence[Part], failure: Sequence[Part] = ()
    ) -> Answer:
        """A transaction. `Unavailable` leaves open whether it was done."""
        return self._call(transaction(compare, success, failure), repeatable=False)

    def scan(
        self, start: bytes, end: bytes, *, revision: int, keys_only: bool = False
    ) -> Iterator[Found]:
        """All keys from `start` to before `end` as of `revision`, in pages."""
        limit = _FIRST_PAGE
        while True:
            part = read_part(start, end, limit=limit, revision=revision, keys_only=keys_only)
            page = self.read(part).ranges[0]
            yield from page
            if len(page) < limit:
                return
            start = page[-1].key + b"\0"
            size_bytes = sum(len(found.key) + len(found.value) + 64 for found in page)
            limit = max(1, min(_LARGEST_PAGE, _PAGE_BYTES * limit // size_bytes))

    def close(self) -> None:
        """Close the connections that no call is using."""
        with self._lock:
            clients = [client for idle in self._idle for _, client in idle]
            self._idle = [[] for _ in self._idle]
        for client in clients:
            client.session.close()

    def _call(self, body: Part, *, repeatable: bool) -> Answer:
        last: Exception | None = None
        for _ in self._url.endpoints:
            place = self._chosen
            try:
                return self._ask(place, body)
            except _FAILED as error:
                failure = etcd_error(self._url.name, error)
                if not isinstance(failure, Unavailable):
                    raise failure from error
                last = error
                self._chosen = (place + 1) % len(self._url.endpoints)
                if not repeatable and not certainly_not_sent(error):
                    break
        assert last is not None
        raise etcd_error(self._url.name, last) from last

    def _ask(self, place: int, body: Part) -> Answer:
        client = self._rested(place)
        if client is not None:
            try:
                return self._post(place, client, body)
            except Etcd3Exception as error:
                if not is_expired(error):
                    raise
        return self._post(place, self._connect(place), body)

    def _post(self, place: int, client: Etcd3Client, body: Part) -> Answer:
        """Use a connection, and keep it where it worked."""
        try:
            answer: Any = client.post(client.get_url("kv/txn"), json=body)
        except BaseException:
            client.session.close()
            raise
        with self._lock:
            self._idle[place].append((self._monotonic_s(), client))
        return parse_answer(answer)

    def _rested(self, place: int) -> Etcd3Client | None:
        """A connection that another call has left; None where there is none that is fresh."""
        since_s = self._monotonic_s() - IDLE_S
        with self._lock:
            idle = self._idle[place]
            old = [client for at_s, client in idle if at_s < since_s]
            del idle[: len(old)]
            found = idle.pop()[1] if idle else None
        for client in old:
            client.session.close()
        return found

    def _connect(self, place: int) -> Etcd3Client:
        host, port = self._url.endpoints[place]
        session = requests.Session()
        session.trust_env = False  # a web proxy of the environment has no part in this
        if self._url.ca:
            session.verify = self._url.ca
        if self._url.cert:
            session.cert = (self._url.cert, self._url.key)
        client = Etcd3Client(
            host=host,
            port=port,
            protocol="https" if self._url.ca else "http",
            api_path="/v3/",
            session=session,
        )
        client.timeout = (CONNECT_S, self._answer_s)  # type: ignore[assignment]
        if self._url.user:
            self._log_in(client)
        return client

    def _log_in(self, client: Etcd3Client) -> None:
        """Give the connection a token of the account; etcd forgets it after minutes of rest."""
        account = {"name": self._url.user, "password": self._url.password.reveal()}
        try:
            answer = client.post(client.get_url("auth/authenticate"), json=account)
            client.session.headers["Authorization"] = answer["token"]
        except BaseException:
            client.session.close()
            raise
