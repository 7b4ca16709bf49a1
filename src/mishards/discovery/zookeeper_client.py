"""Requests to ZooKeeper (3.5 and newer) over kazoo: one session, made again whenever it is lost.

Kazoo reconnects by itself and begins a new session where the old one has expired. Invariants: every
wait ends; nothing is sent while there is no connection, so what was given up is not done later, but
for what was under way; a client that kazoo has given up is replaced.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import (
    AuthFailedError,
    BadVersionError,
    KazooException,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    RolledBackError,
)
from kazoo.handlers.threading import KazooTimeoutError, SequentialThreadingHandler
from kazoo.protocol.states import KeeperState
from kazoo.security import CREATOR_ALL_ACL, OPEN_ACL_UNSAFE

from mishards.core.errors import Unavailable
from mishards.discovery.zookeeper_url import ZooKeeperUrl

Request = Callable[[KazooClient], Any]
"""Sends something; gives kazoo's asynchronous result."""
Operation = Callable[[Any], None]
"""Adds itself to kazoo's transaction."""

REFUSALS = (NoNodeError, NodeExistsError, BadVersionError)
"""Answers that callers decide about."""

_ANSWER_S = 2.0
_LOOK_S = 0.02
_HANDSHAKE_S = 0.5
"""How long a server may take to begin a session; twice as long after each that did not. One that
is just starting takes connections and forgets them."""
_LATE_MOST = 6
_ROUNDS = 2
"""A call is given up early when all servers refused so many attempts since it began."""
_GIVEN_UP = (KeeperState.CLOSED, KeeperState.AUTH_FAILED)
_BACK_OFF = {"max_tries": -1, "delay": 0.05, "backoff": 2, "max_delay": 0.2, "max_jitter": 0.4}

_log = logging.getLogger(__name__)


class _Handler(SequentialThreadingHandler):  # type: ignore[misc]
    """Kazoo's threads and waits.

    Attributes:
        refused: how many attempts to connect were refused so far.
        client: whose threads they are.
    """

    def __init__(self) -> None:
        super().__init__()
        self.refused = 0
        self.client: Any = None
        self._late = 0

    def select(self, reads: Any, writes: Any, errors: Any, timeout: float | None = None) -> Any:
        """As kazoo's, which waits for a whole session on a server that says nothing at first."""
        if self.client is None or self.client.connected or timeout is None:
            self._late = 0
            return super().select(reads, writes, errors, timeout)
        limit_s = _HANDSHAKE_S * 2**self._late
        found = super().select(reads, writes, errors, min(timeout, limit_s))
        if not any(found):
            self._late = min(self._late + 1, _LATE_MOST)
        return found

    def create_connection(self, *args: Any, **options: Any) -> Any:
        try:
            return super().create_connection(*args, **options)
        except OSError:
            self.refused += 1
            raise


class ZooKeeperClient:
    """One session. Blocking; any thread may call. Raises `Unavailable` where no server answers."""

    def __init__(self, url: ZooKeeperUrl, *, session_s: float) -> None:
        """Connects at the first call.

        Args:
            session_s: the session ends when the servers hear nothing for so long; they raise it
                to twice their `tickTime`.
        """
        self.name = url.name
        self._url = url
        self._session_s = session_s
        self._lock = threading.Lock()
        self._kazoo: Any = None

    @property
    def session(self) -> int:
        """The number of the session; 0 while there is no connection."""
        client = self._kazoo
        found = client.client_id if client is not None else None
        return int(found[0]) if found else 0

    def ask(self, request: Request) -> Any:
        """The answer to a request.

        Raises:
            NoNodeError, NodeExistsError, BadVersionError: it was refused as such.
        """
        (answer,) = self.ask_all([request])
        if isinstance(answer, REFUSALS):
            raise answer
        return answer

    def ask_all(self, requests: Sequence[Request]) -> list[Any]:
        """The answers to requests that are sent together, in their order, refusals among them."""
        client = self._start()
        try:
            self._wait(client)
            pending = [request(client) for request in requests]
            return [_answer(one) for one in pending]
        except (KazooException, KazooTimeoutError) as error:
            if client.client_state in _GIVEN_UP:
                self._drop(client)
            raise Unavailable(f"{self.name} cannot be used: {_reason(error)}") from error

    def change(self, *operations: Operation) -> list[Any]:
        """Do all operations or none; what each of them gave.

        Raises:
            NoNodeError, NodeExistsError, BadVersionError: of the operation that was refused.
        """

        def commit(client: KazooClient) -> Any:
            transaction = client.transaction()
            for operation in operations:
                operation(transaction)
            return transaction.commit_async()

        outcomes: list[Any] = self.ask(commit)
        # The others are told as errors too: those before were undone, those after not tried.
        failed = [one for one in outcomes if isinstance(one, Exception)]
        for error in failed:
            if isinstance(error, REFUSALS):
                raise error
        for error in failed:
            if not isinstance(error, RolledBackError):
                raise Unavailable(f"{self.name} cannot be used: {_reason(error)}") from error
        return outcomes

    def close(self) -> None:
        """End the session, so that its entries go at once; the next call would begin another."""
        client = self._kazoo
        if client is not None:
            self._drop(client)

    def _start(self) -> KazooClient:
        with self._lock:
            if self._kazoo is None:
                self._kazoo = self._new()
                self._kazoo.start_async()
            return self._kazoo

    def _new(self) -> KazooClient:
        url = self._url
        account = [("digest", f"{url.user}:{url.password.reveal()}")] if url.user else None
        quiet = logging.getLogger(f"{__name__}.kazoo")
        quiet.setLevel(logging.ERROR)  # it tells of each attempt to connect; callers do so once
        handler = _Handler()
        client = KazooClient(
            hosts=url.hosts,
            handler=handler,
            timeout=self._session_s,
            connection_retry=_BACK_OFF,
            auth_data=account,
            default_acl=CREATOR_ALL_ACL if account else OPEN_ACL_UNSAFE,
            use_ssl=bool(url.ca),
            check_hostname=bool(url.ca),
            ca=url.ca or None,
            certfile=url.cert or None,
            keyfile=url.key or None,
            logger=quiet,
        )
        handler.client = client
        return client

    def _wait(self, client: KazooClient) -> None:
        """Return once there is a connection."""
        refused_before = client.handler.refused
        least = _ROUNDS * len(self._url.endpoints)
        for _ in range(round(_ANSWER_S / _LOOK_S)):
            if client.connected:
                return
            if client.handler.refused - refused_before >= least:
                raise KazooTimeoutError("no server takes a connection")
            client.handler.sleep_func(_LOOK_S)
        if client.client_state == KeeperState.AUTH_FAILED:
            raise AuthFailedError
        raise KazooTimeoutError("no connection in time")

    def _drop(self, client: KazooClient) -> None:
        with self._lock:
            if self._kazoo is not client:
                return
            self._kazoo = None
        try:
            client.stop()
            client.close()
        except (KazooException, OSError) as error:
            _log.warning("a session of %s could not be ended: %s", self.name, error)


def _answer(pending: Any) -> Any:
    try:
        return pending.get(timeout=_ANSWER_S)
    except REFUSALS as refusal:
        return refusal


def _reason(error: Exception) -> str:
    if isinstance(error, KazooTimeoutError):
        return str(error) or "no answer in time"
    if isinstance(error, AuthFailedError):
        return "the account is refused"
    if isinstance(error, NoAuthError):
        return "the account may not use the prefix"
    return str(error) or type(error).__name__
